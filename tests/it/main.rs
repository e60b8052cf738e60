//! The outside view: starts the real program and looks at what it says and answers.

mod cli;
