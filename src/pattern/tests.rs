use super::{Flags, Matcher, Pattern};

fn linear(source: &str) -> String {
    Pattern::read(source).unwrap().linear().unwrap()
}

#[test]
fn nothing_is_left_to_the_dialect_of_the_engine() {
    for (source, written) in [
        ("^\\w$", "^[0-9A-Z\\x{5F}a-z]$"),
        ("\\d+?", "(?:[0-9])+?"),
        ("\\bé", "(?-u:\\b)\\x{E9}"),
        ("^\\<a$", "^\\x{3C}a$"),
        ("(?<n>a|b)", "(?:a|b)"),
        ("[]", "[^\\x{0}-\\x{10FFFF}]"),
        ("[^]", "[\\x{0}-\\x{10FFFF}]"),
    ] {
        assert_eq!(linear(source), written);
    }
}

#[test]
fn only_groups_that_are_referred_to_are_numbered() {
    let pattern = Pattern::read("(a)(?<n>b)(?=c)\\k<n>").unwrap();
    assert_eq!(pattern.stepping().unwrap(), "(?:a)(b)(?=c)(?:\\1)");
}

#[test]
fn case_is_folded_as_javascript_does_it_with_and_without_the_flag_u() {
    let matches = |flags: &str, source: &str, text: &str| {
        let pattern = Pattern::read_with(source, Flags::of(flags)).unwrap();
        Matcher::of(&pattern).unwrap().is_match(text)
    };
    assert!(matches("iu", "^k$", "\u{212a}") && !matches("i", "^k$", "\u{212a}"));
    assert!(matches("i", "^é$", "É") && matches("i", "^[à-ÿ]$", "É"));
    assert!(matches("iu", "^\\P{Lu}$", "a"));
}
