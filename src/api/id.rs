//! The id in a request's path.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use super::problem::Problem;

/// What stands for `{id}` in the path, as it was written.
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // All that can be wrong with it is an escape: axum would answer that in a form of its own.
        let Ok(Path(id)) = Path::<String>::from_request_parts(parts, state).await else {
            return Err(Problem::bad_request(
                "the id in the path is no UTF-8 once its escapes (%…) are read",
            ));
        };
        Ok(Self(id))
    }
}
