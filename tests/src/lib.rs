//! Shared helpers of the conformance and end-to-end tests.
