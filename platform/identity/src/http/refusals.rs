//! What the domain's refusals are called in HTTP.

use axum::http::StatusCode;
use craton_platform_http::Problem;
use webauthn_rs::prelude::WebauthnError;

use crate::ceremonies::CeremoniesFull;
use crate::text::TextError;
use crate::{api_key, organisation, user};

impl From<user::Refusal> for Problem {
    fn from(refusal: user::Refusal) -> Self {
        match refusal {
            user::Refusal::AlreadyRegistered => Self::conflict("already_registered", refusal.to_string()),
            user::Refusal::NotRegistered => Self::not_found(),
            user::Refusal::UnknownPasskey => sign_in_failed(),
        }
    }
}

impl From<organisation::Refusal> for Problem {
    fn from(refusal: organisation::Refusal) -> Self {
        use organisation::Refusal as R;
        let detail = refusal.to_string();
        match refusal {
            R::AlreadyExists => Self::conflict("already_exists", detail),
            R::NotFound | R::NoSuchMember => Self::not_found(),
            R::LastOwner => Self::conflict("last_owner", detail),
            R::RoleTooStrong(_) => Self::permission_denied(detail),
            R::TooManyMembers => limit_reached("members per organisation", organisation::MEMBERS_MAX),
        }
    }
}

impl From<api_key::Refusal> for Problem {
    fn from(refusal: api_key::Refusal) -> Self {
        use api_key::Refusal as R;
        let detail = refusal.to_string();
        match refusal {
            R::AlreadyExists => Self::conflict("already_exists", detail),
            R::NotFound => Self::not_found(),
            R::RoleTooStrong(_) => Self::permission_denied(detail),
            R::EndInThePast => Self::invalid_field("/expires_at", detail),
        }
    }
}

pub(crate) fn invalid_text(pointer: &'static str) -> impl FnOnce(TextError) -> Problem {
    move |error| Problem::invalid_field(pointer, error.to_string())
}

pub(crate) fn limit_reached(what: &str, limit: usize) -> Problem {
    Problem::conflict("limit_reached", format!("The limit of {limit} {what} is reached."))
}

pub(crate) fn ceremonies_full(_: CeremoniesFull) -> Problem {
    Problem::unavailable("Too many people are signing in right now.")
}

pub(crate) fn ceremony_over() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "ceremony_over",
        "Ceremony over",
        "This passkey ceremony was finished before or took too long. Start again.",
    )
}

pub(crate) fn passkey_rejected(error: &WebauthnError) -> Problem {
    tracing::info!(%error, "a new passkey was refused");
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "passkey_rejected",
        "Passkey rejected",
        "The passkey does not answer this ceremony, or does not verify its user.",
    )
}

pub(crate) fn passkey_taken() -> Problem {
    Problem::conflict(
        "passkey_taken",
        "This passkey belongs to an account already. Sign in with it.",
    )
}

/// One answer for every way in which a sign-in can fail, so that nobody learns who has an account.
pub(crate) fn sign_in_failed() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "sign_in_failed",
        "Sign-in failed",
        "This passkey does not sign in to any account here.",
    )
}

pub(crate) fn unknown_user() -> Problem {
    Problem::invalid_field("/user_id", "There is no person with this id.")
}

pub(crate) fn view_lags() -> Problem {
    Problem::unavailable("The change is made but not visible yet.")
}
