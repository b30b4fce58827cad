//! The shape of the request among the facts, whether it may be told in other shapes and whether its conversation is sealed, as
//! one byte behind all others; facts without it are of a chat request, and until the first translation none was either. Behind
//! that of a request which is no conversation stands how long the vectors are to be, and how many pieces it may be billed for where it may.

use super::super::facts::Facts;
use super::{Kept, Reader, Unreadable, Writer};
use crate::canonical::Shape;
use crate::units::Pieces;

/// Added where it may be told in other shapes.
const TRANSLATED: u8 = 0x80;
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
        Shape::OpenAiCompletions => 16,
        Shape::Rerank => 17,
    };
    let sealed = facts.affinity.session.as_ref().is_some_and(|session| session.sealed);
    let flags = [(facts.ask.translated, TRANSLATED), (sealed, SEALED)];
    out.byte(flags.into_iter().filter(|(set, _)| *set).fold(shape, |byte, (_, flag)| byte | flag));
    if facts.ask.shape.direct().is_some() {
        out.option(facts.ask.dimensions, |out, dimensions| out.number(dimensions.into()));
    }
    if by_piece(facts.ask.shape) {
        out.number(facts.ask.pieces.expected);
        out.number(facts.ask.pieces.most);
    }
}

pub(super) fn read(from: &mut Reader<'_>, kept: &mut Kept) -> Result<(), Unreadable> {
    let byte = from.byte()?;
    kept.ask.shape = match byte & !(TRANSLATED | SEALED) {
        0 => Shape::OpenAiChat,
        1 => Shape::AnthropicMessages,
        2 => Shape::GeminiGenerate,
        3 => Shape::OpenAiResponses,
        4 => Shape::OpenAiEmbeddings,
        16 => Shape::OpenAiCompletions,
        17 => Shape::Rerank,
        _ => return Err(Unreadable),
    };
    if kept.ask.shape.direct().is_some() {
        kept.ask.dimensions = from.option(Reader::small)?;
    }
    if by_piece(kept.ask.shape) {
        kept.ask.pieces = Pieces { expected: from.number()?, most: from.number()? };
    }
    kept.ask.translated = byte & TRANSLATED != 0;
    if let Some(session) = &mut kept.affinity.session {
        session.sealed = byte & SEALED != 0;
    }
    Ok(())
}
