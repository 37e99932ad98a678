//! The pipeline as a whole; the texts of problems are goldens in tests/config.
