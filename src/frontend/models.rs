//! The bodies of `GET /v1/models` and `GET /v1/models/{id}`, from neutral values. Which models there are is the
//! caller's to say.

use bytes::Bytes;
use serde::Serialize;

/// One model as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedModel {
    /// What a client sends as `model`.
    pub id: String,
    /// Who serves it.
    pub owned_by: String,
    /// Since when it is listed, in Unix seconds.
    pub created: i64,
}

/// So much of the list as is told at once.
#[derive(Debug, Clone, Copy)]
pub struct Page<'m> {
    pub models: &'m [ListedModel],
    /// Others follow in the direction in which pages are turned.
    pub has_more: bool,
}

impl<'m> Page<'m> {
    /// The whole list.
    pub const fn whole(models: &'m [ListedModel]) -> Self {
        Self { models, has_more: false }
    }
}

/// The body of the list.
pub fn list_body(page: &Page<'_>) -> Bytes {
    let list = List { object: "list", data: page.models.iter().map(Item::of).collect() };
    // Strings and integers: nothing in it can fail to become JSON.
    serde_json::to_vec(&list).unwrap_or_default().into()
}

/// The body of one model.
pub fn item_body(model: &ListedModel) -> Bytes {
    serde_json::to_vec(&Item::of(model)).unwrap_or_default().into()
}

#[derive(Serialize)]
struct List<'m> {
    object: &'static str,
    data: Vec<Item<'m>>,
}

#[derive(Serialize)]
struct Item<'m> {
    id: &'m str,
    object: &'static str,
    created: i64,
    owned_by: &'m str,
}

impl<'m> Item<'m> {
    fn of(model: &'m ListedModel) -> Self {
        Self { id: &model.id, object: "model", created: model.created, owned_by: &model.owned_by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_shape_that_sdks_read() {
        let model = ListedModel { id: "auto".into(), owned_by: "tokenbroker".into(), created: 1_790_000_000 };
        let item = r#"{"id":"auto","object":"model","created":1790000000,"owned_by":"tokenbroker"}"#;
        assert_eq!(item_body(&model), item);
        assert_eq!(list_body(&Page::whole(&[model])), format!(r#"{{"object":"list","data":[{item}]}}"#));
        assert_eq!(list_body(&Page::whole(&[])), r#"{"object":"list","data":[]}"#);
    }
}
