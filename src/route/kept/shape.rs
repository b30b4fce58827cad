//! The shape of the request among the facts, whether it may be told in other shapes and whether its conversation is sealed, as
//! one byte behind all others, with what says whether its schema is an object's and who would leave out too much of it; facts without it are of a chat request, and until the first translation none was either. Behind
//! that of a request which is no conversation stands how long the vectors are to be, and how many pieces it may be billed for where it may;
//! behind those of images, which are wished.

use super::super::facts::Facts;
use super::{Kept, Reader, Unreadable, Writer};
use crate::canonical::{Parameters, Shape};
use crate::catalog::{BackendIndex, Snapshot};
use crate::units::{ImageWish, Pieces, Pixels, Quality, Wanted};

/// Added where it may be told in other shapes. What is no conversation never is, so with the numbers of such shapes it stands for others.
const TRANSLATED: u8 = 0x80;
/// Added where its answer is to keep to a schema of something that is no object.
const NO_OBJECT: u8 = 0x20;
/// Added where somebody would leave out what must not be: a list of them stands behind all else. Before it stands an empty one where
/// the request may be asked in other words only.
const UNSAID: u8 = 0x10;
/// Added where its key may have some models only: the lists of them stand behind all else, an empty text (which is no pattern of
/// anything) between two.
const MODELS: u8 = 0x08;
/// Added where its conversation's home alone can read what it holds.
const SEALED: u8 = 0x40;

/// Whether what is asked so may be billed by the piece.
fn by_piece(shape: Shape) -> bool {
    shape.direct().is_some_and(|direct| direct.piece.is_some())
}

pub(super) fn put(out: &mut Writer, facts: &Facts<'_>) {
    let shape = match facts.ask.shape {
        Shape::OpenAiChat => 0,
        Shape::AnthropicMessages => 1,
        Shape::GeminiGenerate => 2,
        Shape::OpenAiResponses => 3,
        Shape::OpenAiEmbeddings => 4,
        Shape::BedrockConverse => 5,
        Shape::OpenAiCompletions => 6,
        Shape::Rerank => 7,
        Shape::OpenAiImages => TRANSLATED | 4,
        Shape::OpenAiSpeech => TRANSLATED | 6,
        Shape::OpenAiTranscriptions => TRANSLATED | 7,
    };
    let sealed = facts.affinity.session.as_ref().is_some_and(|session| session.sealed);
    let unsaid = &facts.ask.unsaid;
    let flags = [
        (facts.ask.translated, TRANSLATED),
        (sealed, SEALED),
        (facts.ask.no_object, NO_OBJECT),
        (!unsaid.is_empty() || facts.ask.other_words_only, UNSAID),
        (!facts.limits.models.is_empty(), MODELS),
    ];
    out.byte(flags.into_iter().filter(|(set, _)| *set).fold(shape, |byte, (_, flag)| byte | flag));
    if facts.ask.shape.direct().is_some() {
        out.option(facts.ask.dimensions, |out, dimensions| out.number(dimensions.into()));
    }
    if by_piece(facts.ask.shape) {
        out.number(facts.ask.pieces.expected);
        out.number(facts.ask.pieces.most);
    }
    if facts.ask.shape == Shape::OpenAiImages {
        put_image(out, facts.ask.image);
    }
    if facts.ask.other_words_only {
        out.number(0);
    }
    if !unsaid.is_empty() || facts.ask.other_words_only {
        out.number(unsaid.len() as u64);
        for (BackendIndex(index), lost) in unsaid {
            out.number((*index).into());
            out.number(lost.bits().into());
        }
    }
    if !facts.limits.models.is_empty() {
        out.texts(&facts.limits.models.join(&String::new()));
    }
}

pub(super) fn read(from: &mut Reader<'_>, kept: &mut Kept, snapshot: &Snapshot) -> Result<(), Unreadable> {
    let byte = from.byte()?;
    kept.ask.shape = match byte & !(SEALED | NO_OBJECT | UNSAID | MODELS) {
        byte if byte == TRANSLATED | 4 => Shape::OpenAiImages,
        byte if byte == TRANSLATED | 6 => Shape::OpenAiSpeech,
        byte if byte == TRANSLATED | 7 => Shape::OpenAiTranscriptions,
        byte => plain(byte & !TRANSLATED)?,
    };
    if kept.ask.shape.direct().is_some() {
        kept.ask.dimensions = from.option(Reader::small)?;
    }
    if by_piece(kept.ask.shape) {
        kept.ask.pieces = Pieces { expected: from.number()?, most: from.number()? };
    }
    if kept.ask.shape == Shape::OpenAiImages {
        kept.ask.image = read_image(from)?;
    }
    if byte & UNSAID != 0 {
        let count = from.number()?;
        kept.ask.other_words_only = count == 0;
        kept.ask.unsaid = read_unsaid(if count == 0 { from.number()? } else { count }, from, snapshot)?;
    }
    if byte & MODELS != 0 {
        kept.limits.models = from.texts()?.split(String::is_empty).map(<[String]>::to_vec).collect();
    }
    kept.ask.no_object = byte & NO_OBJECT != 0;
    kept.ask.translated = byte & TRANSLATED != 0 && kept.ask.shape.direct().is_none();
    if let Some(session) = &mut kept.affinity.session {
        session.sealed = byte & SEALED != 0;
    }
    Ok(())
}

fn plain(number: u8) -> Result<Shape, Unreadable> {
    Ok(match number {
        0 => Shape::OpenAiChat,
        1 => Shape::AnthropicMessages,
        2 => Shape::GeminiGenerate,
        3 => Shape::OpenAiResponses,
        4 => Shape::OpenAiEmbeddings,
        5 => Shape::BedrockConverse,
        6 => Shape::OpenAiCompletions,
        7 => Shape::Rerank,
        _ => return Err(Unreadable),
    })
}

fn put_image(out: &mut Writer, image: ImageWish) {
    put_wanted(out, image.size, |out, Pixels { width, height }| {
        out.number(width.into());
        out.number(height.into());
    });
    put_wanted(out, image.quality, |out, quality| out.byte(quality as u8));
}

fn put_wanted<T>(out: &mut Writer, wanted: Wanted<T>, put: impl FnOnce(&mut Writer, T)) {
    match wanted {
        Wanted::Unsaid => out.byte(0),
        Wanted::Auto => out.byte(1),
        Wanted::Other => out.byte(2),
        Wanted::This(this) => {
            out.byte(3);
            put(out, this);
        }
    }
}

fn read_image(from: &mut Reader<'_>) -> Result<ImageWish, Unreadable> {
    let pixels = |from: &mut Reader<'_>| Ok(Pixels { width: from.small()?, height: from.small()? });
    let quality = |from: &mut Reader<'_>| Quality::ALL.get(usize::from(from.byte()?)).copied().ok_or(Unreadable);
    Ok(ImageWish { size: read_wanted(from, pixels)?, quality: read_wanted(from, quality)? })
}

fn read_wanted<T>(
    from: &mut Reader<'_>,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, Unreadable>,
) -> Result<Wanted<T>, Unreadable> {
    match from.byte()? {
        0 => Ok(Wanted::Unsaid),
        1 => Ok(Wanted::Auto),
        2 => Ok(Wanted::Other),
        3 => read(from).map(Wanted::This),
        _ => Err(Unreadable),
    }
}

fn read_unsaid(count: u64, from: &mut Reader<'_>, snapshot: &Snapshot) -> Result<Vec<(BackendIndex, Parameters)>, Unreadable> {
    let mut unsaid = Vec::new();
    for _ in 0..count {
        let index: u32 = from.small()?;
        let lost = Parameters::from_bits(from.small()?).ok_or(Unreadable)?;
        if index as usize >= snapshot.backends().len() {
            return Err(Unreadable);
        }
        unsaid.push((BackendIndex(index), lost));
    }
    Ok(unsaid)
}
