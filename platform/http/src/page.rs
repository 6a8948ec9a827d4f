//! Lists in pages with opaque tokens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Problem;

/// Items on a page unless asked otherwise.
pub const PAGE_ITEMS_DEFAULT: u32 = 50;
/// The most items on a page.
pub const PAGE_ITEMS_MAX: u32 = 100;
/// The longest page token in bytes.
const TOKEN_BYTES_MAX: usize = 512;

/// The query parameters of a list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// The most items to return, 1 to 100; 50 when absent.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
    /// The `next_page_token` of the previous page.
    pub page_token: Option<String>,
}

/// A checked request for a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// How many items fit on the page.
    pub limit: u32,
    /// The cursor after which the page starts, as [`Page::new`] was given it.
    pub after: Option<String>,
}

impl PageQuery {
    /// Checks limit and token.
    ///
    /// # Errors
    /// 422 naming the parameter.
    pub fn parse(self) -> Result<PageRequest, Problem> {
        let limit = self.limit.unwrap_or(PAGE_ITEMS_DEFAULT);
        if !(1..=PAGE_ITEMS_MAX).contains(&limit) {
            return Err(Problem::invalid_field(
                "limit",
                format!("limit is 1 to {PAGE_ITEMS_MAX}"),
            ));
        }
        let after = self.page_token.map(|token| decode(&token)).transpose()?;
        Ok(PageRequest { limit, after })
    }
}

impl PageRequest {
    /// The cursor parsed to what a list sorts by.
    ///
    /// # Errors
    /// 422 when the token was made for another list.
    pub fn after_parsed<T: std::str::FromStr>(&self) -> Result<Option<T>, Problem> {
        let parse = |cursor: &String| cursor.parse().map_err(|_| bad_token());
        self.after.as_ref().map(parse).transpose()
    }

    /// How many items to read: one more than fit, to know whether another page follows.
    #[must_use]
    pub fn read_limit(&self) -> u32 {
        self.limit + 1
    }
}

fn bad_token() -> Problem {
    Problem::invalid_field("page_token", "page_token is not one that this list returned")
}

fn decode(token: &str) -> Result<String, Problem> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(bad_token());
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad_token())?;
    String::from_utf8(bytes).map_err(|_| bad_token())
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items in order.
    pub items: Vec<T>,
    /// Asks for the next page; null on the last one.
    #[schema(required)]
    pub next_page_token: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of up to [`PageRequest::read_limit`] items; `cursor` names an item's place.
    pub fn new(mut items: Vec<T>, request: &PageRequest, cursor: impl FnOnce(&T) -> String) -> Self {
        let limit = request.limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next_page_token = items
            .last()
            .filter(|_| more)
            .map(|last| URL_SAFE_NO_PAD.encode(cursor(last)));
        Self { items, next_page_token }
    }

    /// The page with each item turned into something else.
    pub fn map<U>(self, turn: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(turn).collect(),
            next_page_token: self.next_page_token,
        }
    }

    /// A list that is short by nature and always fits on one page.
    #[must_use]
    pub fn whole(items: Vec<T>) -> Self {
        Self {
            items,
            next_page_token: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(limit: Option<u32>, page_token: Option<&str>) -> Result<PageRequest, Problem> {
        let page_token = page_token.map(str::to_owned);
        PageQuery { limit, page_token }.parse()
    }

    #[test]
    fn limits_are_refused_one_past_the_edge() {
        for (limit, accepted) in [(0, false), (1, true), (100, true), (101, false)] {
            assert_eq!(request(Some(limit), None).is_ok(), accepted, "{limit}");
        }
    }

    #[test]
    fn walking_the_pages_visits_every_item_once() {
        let all: Vec<u32> = (0..7).collect();
        let mut token = None;
        let mut seen = Vec::new();
        loop {
            let request = request(Some(3), token.as_deref()).expect("a token of our own");
            let after: Option<u32> = request.after_parsed().expect("a cursor of our own");
            let rest = all
                .iter()
                .copied()
                .filter(|item| after.is_none_or(|after| *item > after));
            let page = Page::new(
                rest.take(request.read_limit() as usize).collect(),
                &request,
                ToString::to_string,
            );
            seen.extend(page.items);
            token = page.next_page_token;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_foreign_token_is_refused() {
        assert!(request(None, Some("%%%")).is_err());
        assert!(request(None, Some(&"a".repeat(513))).is_err());
        let foreign = request(None, Some(&URL_SAFE_NO_PAD.encode("abc"))).expect("well-formed");
        assert!(foreign.after_parsed::<u32>().is_err());
    }
}
