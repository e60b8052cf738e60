//! What is served over HTTP: status, metrics, health, the docroot.
