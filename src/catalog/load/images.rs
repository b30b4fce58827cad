//! The tables `images` of a price row: what an image costs by its size and quality. A price that two of them have for one image is
//! a slip, and nobody could say which of them is meant.

use std::sync::Arc;

use super::price::piece_price;
use crate::catalog::price::{ImagePrice, ImagePrices};
use crate::document::Section;
use crate::units::{ImageKind, Piece, PiecePrice, Pixels, Quality, Sheet};

const IMAGES: &str = "images";
const SIZE: &str = "width and height in pixels, such as \"1024x1536\"";
/// More than any vendor has.
const MOST: usize = 200;

/// What was read, before it is joined with the prices of tokens.
pub(super) struct Images {
    priced: Vec<(ImageKind, PiecePrice)>,
    unsaid: ImageKind,
}

/// Reads them, where the backend makes images.
pub(super) fn read(section: &Section<'_, '_>, piece: Option<Piece>, free: bool) -> Images {
    let mut images = Images { priced: Vec::new(), unsaid: ImageKind::default() };
    if piece != Some(Piece::Image) {
        return images;
    }
    images.unsaid = kind(section, ("unsaid_size", "unsaid_quality"));
    for one in section.sections(IMAGES) {
        let kind = kind(&one, ("size", "quality"));
        if images.priced.iter().any(|(other, _)| other.meets(kind)) {
            one.problem(
                "size",
                "an image may be of this kind and of another one here",
                "kinds that are told apart by size or quality",
            );
        }
        if !one.has("per_image") {
            one.problem("per_image", "missing", "what an image of this kind costs, in whole units of the currency");
        }
        let price = piece_price(&one, "per_image", 1, free);
        images.priced.extend(price.map(|price| (kind, price)));
        one.finish();
    }
    if images.priced.len() > MOST {
        section.problem(IMAGES, format!("there are {} of them", images.priced.len()), format!("at most {MOST}"));
        images.priced.truncate(MOST);
    }
    images
}

fn kind(section: &Section<'_, '_>, (size, quality): (&'static str, &'static str)) -> ImageKind {
    let read: Option<Result<Pixels, _>> = section.text(size).map(|text| text.parse());
    if matches!(read, Some(Err(_))) {
        section.problem(size, "this is no size", SIZE);
    }
    let words = Quality::ALL.map(|quality| (quality, quality.word()));
    ImageKind { size: read.and_then(Result::ok), quality: section.word(quality, &words) }
}

impl Images {
    /// What the dearest of them costs, where prices go by what an image is.
    pub(super) fn dearest(&self) -> Option<PiecePrice> {
        self.priced.iter().map(|(_, price)| *price).max_by_key(|price| price.cost(1))
    }

    /// Joined with what else a row prices.
    pub(super) fn prices(self, sheet: &Sheet, by_hours: impl Fn(Sheet) -> Option<Vec<Arc<Sheet>>>) -> Option<ImagePrices> {
        let priced =
            |(kind, price): (ImageKind, PiecePrice)| Some(ImagePrice { kind, sheets: by_hours(sheet.with_pieces(price))? });
        Some(ImagePrices { all: self.priced.into_iter().map(priced).collect::<Option<_>>()?, unsaid: self.unsaid })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::catalog::{PriceRow, Snapshot};
    use crate::units::{ImageKind, ImageWish, Pixels, Quality, Wanted};

    const HEAD: &str = "schema = 1\nversion = \"test\"\n[providers.west]\nname = \"West\"\nbase_url = \"https://west.example/v1\"\n\
        dialect = \"openai-chat\"\napi_key_env = \"WEST_API_KEY\"\nowner = \"West Ltd\"\njurisdiction = \"US\"\nregion = \"US\"\ncurrency = \"USD\"\n\
        source = \"a test\"\n[[backends]]\nprovider = \"west\"\nmodel = \"brush\"\ncontext_tokens = 8_191\ntokenizer = \"cl100k\"\n";

    fn table(serves: &str, more: &str, prices: &str) -> String {
        format!("{HEAD}serves = \"{serves}\"\n{more}\n[[backends.prices]]\nsource = \"a test\"\n{prices}\n")
    }

    fn problems(serves: &str, more: &str, prices: &str) -> Vec<String> {
        let read = Snapshot::parse("t.toml", &table(serves, more, prices));
        read.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    fn row(prices: &str) -> PriceRow {
        let table = Snapshot::parse("t.toml", &table("images", "", prices)).unwrap();
        table.backend_named("west/brush").unwrap().prices.rows()[0].clone()
    }

    /// In hundredths of a dollar.
    fn price(row: &PriceRow, wish: ImageWish) -> Option<i128> {
        row.image(wish).map(|image| row.sheet_of(image, 0).dearest_piece() / 10_000_000_000)
    }

    #[test]
    fn prices_by_size_and_quality_are_told_apart() {
        let graded = row(
            "unsaid_quality = \"standard\"\nimages = [{ size = \"1x1\", quality = \"standard\", per_image = 0.04 }, { size = \"1x1\", quality = \"hd\", per_image = 0.08 }, { size = \"1x2\", per_image = 0.05 }]",
        );
        let square = Wanted::This(Pixels { width: 1, height: 1 });
        let check =
            |size, quality, expected| assert_eq!(price(&graded, ImageWish { size, quality }), expected, "{size:?} {quality:?}");
        check(square, Wanted::Unsaid, Some(4));
        check(square, Wanted::Auto, Some(8));
        check(Wanted::Unsaid, Wanted::Unsaid, Some(5));
        check(Wanted::Auto, Wanted::This(Quality::Hd), Some(8));
        check(Wanted::This(Pixels { width: 1, height: 2 }), Wanted::Other, Some(5));
        check(square, Wanted::This(Quality::Low), None);
        check(Wanted::Other, Wanted::Unsaid, None);
        assert_eq!(graded.list().dearest_piece() / 10_000_000_000, 8, "a list shows the dearest");
        assert_eq!(price(&row("per_image = 0.03"), ImageWish { size: Wanted::Other, quality: Wanted::Auto }), Some(3));
    }

    #[test]
    fn what_could_be_meant_in_two_ways_is_refused() {
        let check = |serves, more, prices, expected: &[&str]| {
            let found = problems(serves, more, prices);
            let told = |part: &&str| found.iter().any(|problem| problem.contains(part));
            let fits = found.len() == expected.len() && expected.iter().all(told);
            assert!(fits, "{prices}: expected {expected:#?}, found {found:#?}");
        };
        check(
            "images",
            "",
            "images = [{ size = \"1x1\", per_image = 1 }, { quality = \"hd\", per_image = 2 }]",
            &["images[1].size: an image may be of this kind"],
        );
        check("images", "", "per_image = 1\nimages = [{ per_image = 1 }]", &["per_image: a price stands beside"]);
        check("images", "", "images = [{ size = \"big\", per_image = 1 }]", &["images[0].size: this is no size"]);
        check("images", "", "images = [{ quality = \"best\", per_image = 1 }]", &["images[0].quality"]);
        check("images", "", "images = [{ size = \"1x1\" }]", &["per_image: missing", "input: missing", "output: missing"]);
        check("images", "", "images = [{ per_image = 0 }]", &["this costs nothing"]);
        check("images", "", "input = 1\noutput = 2", &["max_output_tokens: missing"]);
        check("images", "max_output_tokens = 9", "input = 1\noutput = 2", &[]);
        check("images", "", "", &["input: missing", "output: missing"]);
        check("speech", "", "per_million_characters = 15\nimages = [{ per_image = 1 }]", &["images"]);
        check("speech", "", "per_million_characters = 15\nper_thousand_characters = 1", &["has two prices"]);
        check("transcriptions", "", "per_minute = 0.006", &[]);
        check("transcriptions", "", "per_image = 1", &["input: missing", "output: missing", "per_image"]);
    }

    proptest! {
        /// A hold that is made by it covers whatever the vendor chooses.
        #[test]
        fn nothing_that_may_be_costs_more_than_what_is_chosen(
            prices in prop::collection::vec((1_u32..4, 0_usize..5, 1_u32..99), 1..9), size in 0_u32..5, quality in 0_usize..7,
        ) {
            let mut kinds: Vec<(ImageKind, u32)> = Vec::new();
            for (width, quality, cents) in prices {
                let kind = ImageKind { size: Some(Pixels { width, height: 1 }), quality: Some(Quality::ALL[quality]) };
                if kinds.iter().all(|(other, _)| !other.meets(kind)) {
                    kinds.push((kind, cents));
                }
            }
            let entry = |(kind, cents): &(ImageKind, u32)| {
                format!("{{ size = \"{}x1\", quality = \"{}\", per_image = {}.{:02} }}", kind.size.unwrap().width, kind.quality.unwrap().word(), cents / 100, cents % 100)
            };
            let row = row(&format!("images = [{}]", kinds.iter().map(entry).collect::<Vec<_>>().join(", ")));
            let size = match size { 0 => Wanted::Unsaid, 4 => Wanted::Auto, width => Wanted::This(Pixels { width, height: 1 }) };
            let quality = Quality::ALL.get(quality).map_or(Wanted::Auto, |quality| Wanted::This(*quality));
            let wish = ImageWish { size, quality };
            let may_be = kinds.iter().filter(|(kind, _)| kind.may_be(wish)).map(|(_, cents)| i128::from(*cents)).max();
            prop_assert_eq!(price(&row, wish), may_be);
        }
    }
}
