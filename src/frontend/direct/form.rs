//! A request that is a form: sound to be written down. Its file passes as it came; what is acted on stands in fields beside it.

use bytes::Bytes;
use http::HeaderMap;

use super::super::errors::BadRequest;
use super::super::multipart::{self, Field};
use super::super::sound;
use super::super::top_level::{MAX_MODEL_BYTES, fits_model};
use crate::canonical::{Direct, Features, Members, ReasoningWish, Request, TextProfile, Wishes};
use crate::units::{ImageWish, Tokens};

/// What hosts take at once (OpenAI's reference of `POST /audio/transcriptions`, stored copy).
const MOST_FILE: usize = 25 << 20;

/// Everything but the bytes themselves.
pub(super) fn read(direct: &'static Direct, body: &[u8], headers: &HeaderMap, wishes: Wishes) -> Result<Request, BadRequest> {
    let fields = multipart::fields(body, &multipart::boundary(headers)?)?;
    let form = Form { body, fields: &fields };
    form.check_names(direct)?;
    let file = form.file(direct.input)?;
    let (model, place) = form.model()?;
    let prompt = form.text("prompt")?.unwrap_or_default();
    Ok(Request {
        shape: direct.shape,
        body: Bytes::new(),
        members: Members { model: place, ..Members::default() },
        model,
        stream: form.flag("stream")?,
        wants_usage_frame: false,
        output_bound: None,
        choices: 1,
        features: Features::NONE,
        reasoning: ReasoningWish::Unsaid,
        thinking_budget: None,
        no_object: false,
        may_hold_thoughts: false,
        unpriced: None,
        text: TextProfile::of(prompt),
        token_input: Tokens::ZERO,
        dimensions: None,
        pieces: sound::length(file),
        image: ImageWish::default(),
        messages: 1,
        tools: 0,
        images: 0,
        wishes,
    })
}

struct Form<'f, 'b> {
    body: &'b [u8],
    fields: &'f [Field<'b>],
}

impl<'b> Form<'_, 'b> {
    /// What decides stands once and under its own name; wishes stand in headers.
    fn check_names(&self, direct: &Direct) -> Result<(), BadRequest> {
        let bad = |code, name: &str, what: &str| Err(BadRequest::new(code, name, format!("`{name}` {what}")));
        for (place, Field { name, .. }) in self.fields.iter().enumerate() {
            if name.eq_ignore_ascii_case("tokenbroker") {
                return bad("unknown_parameter", name, "has no place in a form: send wishes as headers, x-tokenbroker-...");
            }
            let acted_on = direct.members.iter().chain(&["model"]).find(|known| known.eq_ignore_ascii_case(name));
            let Some(known) = acted_on else { continue };
            if known != name {
                return bad("unknown_parameter", name, "must be written in lower case");
            }
            if self.fields[..place].iter().any(|before| before.name == *name) {
                return bad("duplicate_parameter", name, "stands twice");
            }
        }
        Ok(())
    }

    fn value(&self, name: &str) -> Option<&'b [u8]> {
        self.fields.iter().find(|field| field.name == name).map(|field| &self.body[field.value.clone()])
    }

    fn text(&self, name: &'static str) -> Result<Option<&'b str>, BadRequest> {
        let text = self.value(name).map(std::str::from_utf8).transpose();
        text.map_err(|_| BadRequest::new("invalid_type", name, format!("`{name}` must be a text in UTF-8")))
    }

    fn flag(&self, name: &'static str) -> Result<bool, BadRequest> {
        match self.text(name)?.map(str::trim) {
            None | Some("") => Ok(false),
            Some(told) if told.eq_ignore_ascii_case("true") => Ok(true),
            Some(told) if told.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => Err(BadRequest::new("invalid_type", name, format!("`{name}` must be true or false"))),
        }
    }

    fn model(&self) -> Result<(String, std::ops::Range<usize>), BadRequest> {
        let missing = || BadRequest::new("missing_required_parameter", "model", "`model` must be given: a model's name");
        let field = self.fields.iter().find(|field| field.name == "model").ok_or_else(missing)?;
        let model = self.text("model")?.filter(|model| fits_model(model));
        let model = model.ok_or_else(|| {
            let message = format!("`model` must have 1 to {MAX_MODEL_BYTES} bytes and no control characters");
            BadRequest::new("invalid_value", "model", message)
        })?;
        Ok((model.to_owned(), field.value.clone()))
    }

    fn file(&self, name: &'static str) -> Result<&'b [u8], BadRequest> {
        let missing = || BadRequest::new("missing_required_parameter", name, format!("`{name}` must be given: a file of sound"));
        let field = self.fields.iter().find(|field| field.name == name).ok_or_else(missing)?;
        let (file, bad) = (&self.body[field.value.clone()], |what: String| Err(BadRequest::new("invalid_value", name, what)));
        if !field.is_file || file.is_empty() {
            return bad(format!("`{name}` must be a file (with a `filename`) that is not empty"));
        }
        if file.len() > MOST_FILE {
            return bad(format!("`{name}` has {} bytes, at most {MOST_FILE} are taken", file.len()));
        }
        Ok(file)
    }
}
