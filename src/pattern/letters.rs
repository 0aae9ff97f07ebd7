//! Sets of characters by name, and the flag `i`.

use regex_syntax::hir::{Class, ClassUnicode, HirKind};

use super::syntax::{Flags, all_but, ranges};

pub(super) fn digits() -> ClassUnicode {
    ranges(&[('0', '9')])
}

/// `\w`. With both `i` and `u` also the two characters that fold to an ASCII letter.
pub(super) fn word(flags: Flags) -> ClassUnicode {
    let mut set = ranges(&[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]);
    if flags.ignore_case && flags.unicode {
        set.union(&ranges(&[('\u{17f}', '\u{17f}'), ('\u{212a}', '\u{212a}')]));
    }
    set
}

/// `\s`: `WhiteSpace` and `LineTerminator` of ECMA-262.
pub(super) fn space() -> ClassUnicode {
    ranges(&[
        ('\t', '\r'),
        (' ', ' '),
        ('\u{a0}', '\u{a0}'),
        ('\u{1680}', '\u{1680}'),
        ('\u{2000}', '\u{200a}'),
        ('\u{2028}', '\u{2029}'),
        ('\u{202f}', '\u{202f}'),
        ('\u{205f}', '\u{205f}'),
        ('\u{3000}', '\u{3000}'),
        ('\u{feff}', '\u{feff}'),
    ])
}

/// `.`
pub(super) fn dot(flags: Flags) -> ClassUnicode {
    let ends = if flags.dot_all {
        &[][..]
    } else {
        &[('\n', '\n'), ('\r', '\r'), ('\u{2028}', '\u{2029}')]
    };
    all_but(ranges(ends))
}

/// The names that may stand alone in `\p{...}`: values of `General_Category`, each by both names,
/// and binary properties. The engine would also accept scripts there, and names in any spelling.
const ALONE: &str = " L Letter Lu Uppercase_Letter Ll Lowercase_Letter Lt Titlecase_Letter LC \
    Cased_Letter Lm Modifier_Letter Lo Other_Letter M Mark Combining_Mark Mn Nonspacing_Mark Mc \
    Spacing_Mark Me Enclosing_Mark N Number Nd Decimal_Number digit Nl Letter_Number No \
    Other_Number P Punctuation punct Pc Connector_Punctuation Pd Dash_Punctuation Ps \
    Open_Punctuation Pe Close_Punctuation Pi Initial_Punctuation Pf Final_Punctuation Po \
    Other_Punctuation S Symbol Sm Math_Symbol Sc Currency_Symbol Sk Modifier_Symbol So \
    Other_Symbol Z Separator Zs Space_Separator Zl Line_Separator Zp Paragraph_Separator C Other \
    Cc Control cntrl Cf Format Co Private_Use Cn Unassigned \
    Any Assigned ASCII ASCII_Hex_Digit AHex Alphabetic Alpha Bidi_Control Bidi_C Bidi_Mirrored \
    Bidi_M Case_Ignorable CI Cased Changes_When_Casefolded CWCF Changes_When_Casemapped CWCM \
    Changes_When_Lowercased CWL Changes_When_Titlecased CWT Changes_When_Uppercased CWU Dash \
    Default_Ignorable_Code_Point DI Deprecated Dep Diacritic Dia Emoji Emoji_Component EComp \
    Emoji_Modifier EMod Emoji_Modifier_Base EBase Emoji_Presentation EPres Extended_Pictographic \
    ExtPict Extender Ext Grapheme_Base Gr_Base Grapheme_Extend Gr_Ext Hex_Digit Hex \
    IDS_Binary_Operator IDSB IDS_Trinary_Operator IDST ID_Continue IDC ID_Start IDS Ideographic \
    Ideo Join_Control Join_C Logical_Order_Exception LOE Lowercase Lower Math \
    Noncharacter_Code_Point NChar Pattern_Syntax Pat_Syn Pattern_White_Space Pat_WS \
    Quotation_Mark QMark Radical Regional_Indicator RI Sentence_Terminal STerm Soft_Dotted SD \
    Terminal_Punctuation Term Unified_Ideograph UIdeo Uppercase Upper Variation_Selector VS \
    White_Space space XID_Continue XIDC XID_Start XIDS ";

/// `\p{name}`, with the name as JavaScript spells it; `None` for other names.
pub(super) fn property(name: &str) -> Option<ClassUnicode> {
    let listed = |name: &str| !name.contains(' ') && ALONE.contains(&format!(" {name} "));
    let is_known = match name.split_once('=') {
        None => listed(name),
        Some(("General_Category" | "gc", value)) => listed(value),
        Some(("Script" | "sc" | "Script_Extensions" | "scx", value)) => {
            value.starts_with(|c: char| c.is_ascii_uppercase())
                && value.chars().all(|c| c.is_ascii_alphabetic() || c == '_')
        }
        Some(_) => false,
    };
    let pattern = is_known.then(|| format!("\\p{{{name}}}"))?;
    match regex_syntax::parse(&pattern).ok()?.into_kind() {
        HirKind::Class(Class::Unicode(set)) => Some(set),
        _ => None,
    }
}

/// The set, extended by all characters that the flag `i` treats as equal to one in it.
pub(super) fn folded(mut set: ClassUnicode, flags: Flags) -> ClassUnicode {
    if !flags.ignore_case {
        return set;
    }
    if flags.unicode {
        // This fails only if the build omits the tables.
        let _ = set.try_case_fold_simple();
        return set;
    }
    if set.is_ascii() {
        set.union(&ranges(&ascii_letters(&set)));
        return set;
    }
    let has = |c: char| set.ranges().iter().any(|range| range.start() <= c && c <= range.end());
    let mut upper = vec![false; 0x1_0000];
    for c in ('\0'..='\u{ffff}').filter(|c| has(*c)) {
        if let Some(slot) = upper.get_mut(canonical(c) as usize) {
            *slot = true;
        }
    }
    let is_one = |c: &char| upper.get(canonical(*c) as usize) == Some(&true);
    let all: Vec<_> = ('\0'..='\u{ffff}').filter(is_one).map(|c| (c, c)).collect();
    set.union(&ranges(&all));
    set
}

fn ascii_letters(set: &ClassUnicode) -> Vec<(char, char)> {
    let has = |c: char| set.ranges().iter().any(|range| range.start() <= c && c <= range.end());
    let swapped = |c: char| {
        if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
    };
    ('A'..='z').filter(|c| has(*c)).map(|c| (swapped(c), swapped(c))).collect()
}

/// `Canonicalize` of ECMA-262 without the flag `u`: upper case, if that is one code unit and does
/// not turn a non-ASCII character into an ASCII one.
fn canonical(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) if (one as u32) < 0x1_0000 && (c.is_ascii() || !one.is_ascii()) => one,
        _ => c,
    }
}
