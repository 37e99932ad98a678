//! Checks and edits a request passes.
