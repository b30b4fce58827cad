//! What tells the prices of images apart: how large they are and how good, as a request wishes it and as a price list names it.
//!
//! A price is for images of one size and quality, or of any. A request may say either, say nothing, or leave the choice to the
//! vendor (`auto`). What nobody knows beforehand is the dearest that it may be.

use std::str::FromStr;

/// How large an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pixels {
    pub width: u32,
    pub height: u32,
}

impl FromStr for Pixels {
    type Err = &'static str;

    /// Reads `1024x1536`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "width and height in pixels, such as 1024x1536";
        let (width, height) = text.split_once('x').ok_or(SHAPE)?;
        let side = |text: &str| text.parse::<u32>().ok().filter(|side| *side > 0 && text.as_bytes()[0].is_ascii_digit());
        match (side(width), side(height)) {
            (Some(width), Some(height)) => Ok(Self { width, height }),
            _ => Err(SHAPE),
        }
    }
}

/// How good an image is, in the words of OpenAI's reference of `POST /images/generations` (openapi.yaml, stored copy).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Quality {
    Low,
    Medium,
    High,
    Standard,
    Hd,
}

impl Quality {
    pub const ALL: [Quality; 5] = [Quality::Low, Quality::Medium, Quality::High, Quality::Standard, Quality::Hd];

    /// The word in requests and price lists.
    pub const fn word(self) -> &'static str {
        match self {
            Quality::Low => "low",
            Quality::Medium => "medium",
            Quality::High => "high",
            Quality::Standard => "standard",
            Quality::Hd => "hd",
        }
    }

    /// The one with this word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quality| quality.word() == word)
    }
}

/// What a request says of one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Wanted<T> {
    /// Nothing: the vendor's usual one.
    #[default]
    Unsaid,
    /// The vendor is to choose.
    Auto,
    This(T),
    /// Something that no price list here has a word for.
    Other,
}

impl<T: Copy + PartialEq> Wanted<T> {
    /// The same where the usual one is known.
    #[must_use]
    fn or(self, usual: Option<T>) -> Self {
        match (self, usual) {
            (Wanted::Unsaid, Some(usual)) => Wanted::This(usual),
            (wanted, _) => wanted,
        }
    }

    /// Whether an image that is wanted so may be one that a price is for; `None` stands for any.
    fn may_be(self, priced: Option<T>) -> bool {
        match (priced, self) {
            (None, _) | (Some(_), Wanted::Unsaid | Wanted::Auto) => true,
            (Some(priced), Wanted::This(wanted)) => priced == wanted,
            (Some(_), Wanted::Other) => false,
        }
    }
}

/// Which images a request wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ImageWish {
    pub size: Wanted<Pixels>,
    pub quality: Wanted<Quality>,
}

impl ImageWish {
    /// The same where a vendor's usual size and quality are known.
    #[must_use]
    pub fn or(self, usual: ImageKind) -> Self {
        Self { size: self.size.or(usual.size), quality: self.quality.or(usual.quality) }
    }
}

/// Which images a price is for; `None` stands for any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ImageKind {
    pub size: Option<Pixels>,
    pub quality: Option<Quality>,
}

impl ImageKind {
    /// Whether an image that is wished so may be of this kind.
    pub fn may_be(self, wish: ImageWish) -> bool {
        wish.size.may_be(self.size) && wish.quality.may_be(self.quality)
    }

    /// Whether one image may be of both kinds.
    pub fn meets(self, other: ImageKind) -> bool {
        fn alike<T: PartialEq + Copy>(one: Option<T>, other: Option<T>) -> bool {
            one.is_none() || other.is_none() || one == other
        }
        alike(self.size, other.size) && alike(self.quality, other.quality)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(size: &str, quality: &str) -> ImageKind {
        ImageKind { size: size.parse().ok(), quality: Quality::named(quality) }
    }

    #[test]
    fn a_size_is_two_numbers() {
        assert_eq!("1024x1536".parse(), Ok(Pixels { width: 1024, height: 1536 }));
        for bad in ["", "x", "1024", "1024x", "x1", "0x1", "1x0", "1024X1024", "+1x1", "1x1x1", "1 x 1", "99999999999x1", "auto"]
        {
            assert!(bad.parse::<Pixels>().is_err(), "{bad}");
        }
        assert!(Quality::ALL.into_iter().all(|quality| Quality::named(quality.word()) == Some(quality)));
    }

    #[test]
    fn what_is_not_said_may_be_anything_and_what_is_said_is_that() {
        let wish = |size: Wanted<Pixels>, quality: Wanted<Quality>| ImageWish { size, quality };
        let square = Wanted::This(Pixels { width: 1024, height: 1024 });
        let check =
            |kind: ImageKind, wish: ImageWish, expected: bool| assert_eq!(kind.may_be(wish), expected, "{kind:?} {wish:?}");
        let hd = kind("1024x1024", "hd");
        check(hd, ImageWish::default(), true);
        check(hd, wish(square, Wanted::Auto), true);
        check(hd, wish(square, Wanted::This(Quality::Standard)), false);
        check(hd, wish(Wanted::This(Pixels { width: 512, height: 512 }), Wanted::Auto), false);
        check(hd, wish(Wanted::Other, Wanted::This(Quality::Hd)), false);
        check(kind("", "hd"), wish(Wanted::Other, Wanted::This(Quality::Hd)), true);
        check(kind("", ""), wish(Wanted::Other, Wanted::Other), true);
        // The vendor's usual one stands for what is not said, not for what it is to choose.
        let usual = kind("1024x1024", "standard");
        check(hd, ImageWish::default().or(usual), false);
        check(hd, wish(Wanted::Auto, Wanted::Auto).or(usual), true);
        check(hd, wish(Wanted::Unsaid, Wanted::Auto).or(usual), true);
    }

    #[test]
    fn kinds_meet_where_one_image_may_be_of_both() {
        let check = |one: ImageKind, other: ImageKind, expected: bool| {
            assert_eq!((one.meets(other), other.meets(one)), (expected, expected), "{one:?} {other:?}");
        };
        check(kind("1x1", "hd"), kind("1x1", "hd"), true);
        check(kind("1x1", "hd"), kind("1x2", "hd"), false);
        check(kind("1x1", ""), kind("", "hd"), true);
        check(kind("1x1", "low"), kind("", "hd"), false);
        check(kind("", ""), kind("1x2", "hd"), true);
    }
}
