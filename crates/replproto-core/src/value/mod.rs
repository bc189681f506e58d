//! Record values.
