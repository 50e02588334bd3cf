//! A text as it reads once tricks of writing are undone.
//!
//! Case and width are folded, invisible characters dropped, and letters of other alphabets that pass for Latin ones
//! are read as those; what was undone is counted. Criteria work on the folded tokens, so that a trick of writing
//! neither hides an echo nor makes a word new.

/// Bytes of a text that are read; what lies beyond is counted and not looked at.
pub const READ_BYTES: usize = 64 << 10;

/// Letters that pass for Latin ones, with those (from Unicode's confusables, the lower-case ones of Cyrillic and Greek).
const LOOKALIKES: [(char, char); 36] = [
    ('а', 'a'),
    ('в', 'b'),
    ('с', 'c'),
    ('ԁ', 'd'),
    ('е', 'e'),
    ('ё', 'e'),
    ('һ', 'h'),
    ('і', 'i'),
    ('ї', 'i'),
    ('ј', 'j'),
    ('к', 'k'),
    ('ӏ', 'l'),
    ('м', 'm'),
    ('н', 'h'),
    ('о', 'o'),
    ('р', 'p'),
    ('ԛ', 'q'),
    ('г', 'r'),
    ('ѕ', 's'),
    ('т', 't'),
    ('ѵ', 'v'),
    ('ԝ', 'w'),
    ('х', 'x'),
    ('у', 'y'),
    ('α', 'a'),
    ('β', 'b'),
    ('ε', 'e'),
    ('ι', 'i'),
    ('κ', 'k'),
    ('ν', 'v'),
    ('ο', 'o'),
    ('ρ', 'p'),
    ('τ', 't'),
    ('υ', 'u'),
    ('χ', 'x'),
    ('ɡ', 'g'),
];

/// A text, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The text as it came, up to [`READ_BYTES`].
    pub raw: String,
    /// Lower-case words (letters and digits with inner apostrophes) and single marks, in order.
    pub tokens: Vec<String>,
    /// Bytes of the whole text.
    pub bytes: usize,
    /// Characters that nobody sees where they stand: controls, zero widths within Latin words, reordering without need.
    pub hidden: usize,
    /// Words that mix Latin letters with such that pass for them.
    pub disguised: usize,
}

impl Reading {
    /// Reads a text.
    pub fn new(text: &str) -> Self {
        let mut end = text.len().min(READ_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let raw = text[..end].to_owned();
        let (folded, hidden) = fold(&raw);
        let mut reading = Self { raw, tokens: Vec::new(), bytes: text.len(), hidden, disguised: 0 };
        reading.cut(&folded);
        reading
    }

    /// The words among the tokens.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().map(String::as_str).filter(|t| is_word(t))
    }

    /// Whether more came than is read.
    pub fn is_cut(&self) -> bool {
        self.bytes > self.raw.len()
    }

    fn cut(&mut self, folded: &str) {
        let mut word = String::new();
        let mut characters = folded.chars().peekable();
        while let Some(c) = characters.next() {
            let inner = matches!(c, '\'' | '\u{2019}')
                && !word.is_empty()
                && characters.peek().is_some_and(|next| next.is_alphanumeric());
            if c.is_alphanumeric() || is_combining(c) {
                word.push(c);
                continue;
            }
            if inner {
                word.push('\'');
                continue;
            }
            self.end(&mut word);
            if !c.is_whitespace() {
                self.tokens.push(c.to_string());
            }
        }
        self.end(&mut word);
    }

    fn end(&mut self, word: &mut String) {
        if word.is_empty() {
            return;
        }
        let alike = |c: char| LOOKALIKES.iter().find(|(other, _)| *other == c).map(|(_, latin)| *latin);
        if word.chars().any(|c| c.is_ascii_alphabetic()) && word.chars().any(|c| alike(c).is_some()) {
            self.disguised += 1;
            *word = word.chars().map(|c| alike(c).unwrap_or(c)).collect();
        }
        self.tokens.push(std::mem::take(word));
    }
}

/// Whether a token is a word, not a mark.
pub fn is_word(token: &str) -> bool {
    token.starts_with(char::is_alphanumeric)
}

fn is_combining(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}')
}

/// Drawn with no width.
fn is_zero_width(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}')
}

/// Changes the direction of what is beside it.
fn is_turn(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}') && c.is_alphabetic()
}

/// The text in lower case and normal width without what cannot be seen, and how much of that was hidden.
fn fold(text: &str) -> (String, usize) {
    let turns_belong = text.chars().any(is_right_to_left);
    let mut folded = String::with_capacity(text.len());
    let mut hidden = 0;
    let mut before = ' ';
    for c in text.chars() {
        if is_zero_width(c) {
            // Between letters that never join or part, a zero width serves nothing but to split a word unseen.
            hidden += usize::from(before.is_ascii_alphanumeric());
        } else if is_turn(c) {
            hidden += usize::from(!turns_belong);
        } else if matches!(c, '\u{e0000}'..='\u{e007f}') || (c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            hidden += 1;
        } else {
            let c = match c {
                '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
                c => c,
            };
            before = c;
            folded.extend(c.to_lowercase());
        }
    }
    (folded, hidden)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(text: &str) -> Vec<String> {
        Reading::new(text).tokens
    }

    #[test]
    fn words_and_marks_come_apart_and_case_is_folded() {
        assert_eq!(tokens("A dog's  Life, isn't it?"), ["a", "dog's", "life", ",", "isn't", "it", "?"]);
        assert_eq!(tokens("'quoted'"), ["'", "quoted", "'"]);
        assert!(tokens(" \n\t ").is_empty());
    }

    #[test]
    fn disguises_are_undone_and_counted() {
        let disguised = Reading::new("tre\u{200b}e \u{0440}ear ｄog p\u{0430}per");
        assert_eq!(disguised.tokens, ["tree", "pear", "dog", "paper"]);
        assert_eq!((disguised.hidden, disguised.disguised), (1, 2));
        let turned = Reading::new("abc\u{202e}def\0");
        assert_eq!((turned.tokens.join(" ").as_str(), turned.hidden), ("abcdef", 2));
    }

    #[test]
    fn other_scripts_are_not_disguises() {
        for text in ["собака это животное", "\u{5d0}\u{200f}\u{5d1} \u{5d2}", "क्\u{200d}ष", "👩\u{200d}🚀", "τρία"]
        {
            let reading = Reading::new(text);
            assert_eq!((reading.hidden, reading.disguised), (0, 0), "{text}");
        }
    }

    #[test]
    fn of_a_megabyte_a_bounded_part_is_read() {
        let reading = Reading::new(&"ä".repeat(1 << 20));
        assert!(reading.is_cut() && reading.raw.len() <= READ_BYTES && reading.bytes == 2 << 20);
    }

    proptest! {
        #[test]
        fn any_text_can_be_read_and_reading_its_tokens_again_changes_nothing(text: String) {
            let once = tokens(&text);
            prop_assert!(once.iter().all(|t| !t.is_empty()));
            let again = tokens(&once.join(" "));
            // Lower-casing may give what folds further in rare letters; words of plain letters are stable.
            if text.is_ascii() {
                prop_assert_eq!(once, again);
            }
        }
    }
}
