//! For tests: words that people read are kept in `snapshots/` and reviewed there.

/// Compares with the file of the test's name; it holds nothing but the words.
macro_rules! assert_words {
    ($words:expr) => {{
        let mut settings = insta::Settings::clone_current();
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!($words));
    }};
}
