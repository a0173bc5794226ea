//! Splitting a command line into words as a POSIX shell does, without running anything.

/// Why a text cannot be split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsplittable {
    /// A quote or a `${` that never ends.
    Unclosed(char),
    /// A character that would make a shell do more than start one program.
    Operator(char),
}

/// The words of `text`.
///
/// With `keep_variables`, `${…}` stays whole although it may hold blanks or quotes: the raw model
/// has not put values in yet.
pub fn split(text: &str, keep_variables: bool) -> Result<Vec<String>, Unsplittable> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c.is_ascii_whitespace() {
            words.extend(word.take());
            continue;
        }
        // A line that goes on is no word by itself.
        if c == '\\' && rest.next_if_eq(&'\n').is_some() {
            continue;
        }
        let word = word.get_or_insert_default();
        match c {
            '\'' => loop {
                match rest.next().ok_or(Unsplittable::Unclosed('\''))? {
                    '\'' => break,
                    c => word.push(c),
                }
            },
            '"' => loop {
                match rest.next().ok_or(Unsplittable::Unclosed('"'))? {
                    '"' => break,
                    // Within double quotes a backslash is itself before anything but these.
                    '\\' => match rest.next_if(|c| matches!(c, '$' | '`' | '"' | '\\' | '\n')) {
                        Some('\n') => {}
                        Some(c) => word.push(c),
                        None => word.push('\\'),
                    },
                    '$' => variable(word, &mut rest, keep_variables)?,
                    c => word.push(c),
                }
            },
            '\\' => match rest.next() {
                Some(c) => word.push(c),
                None => return Err(Unsplittable::Unclosed('\\')),
            },
            '$' => variable(word, &mut rest, keep_variables)?,
            // Compose drops everything from these on without a word; nobody means that.
            ';' | '&' | '|' | '<' | '>' | '(' | ')' | '`' => return Err(Unsplittable::Operator(c)),
            c => word.push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Copies `$` and, when asked, the whole `{…}` behind it.
fn variable(
    word: &mut String,
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    keep_whole: bool,
) -> Result<(), Unsplittable> {
    word.push('$');
    if !keep_whole {
        return Ok(());
    }
    // `$$` is one literal dollar: what follows it begins no variable.
    if rest.next_if_eq(&'$').is_some() {
        word.push('$');
        return Ok(());
    }
    if rest.peek() != Some(&'{') {
        return Ok(());
    }
    let mut depth = 0_usize;
    for c in rest.by_ref() {
        word.push(c);
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(());
        }
    }
    Err(Unsplittable::Unclosed('{'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does() {
        for (text, words) in [
            ("", &[][..]),
            ("  \n ", &[]),
            ("redis-server --save ''", &["redis-server", "--save", ""]),
            ("sh -c 'a && b; c'", &["sh", "-c", "a && b; c"]),
            (r#"echo "a \"b\" \n" c"#, &["echo", r#"a "b" \n"#, "c"]),
            (r"a\ b c", &["a b", "c"]),
            ("a'b'\"c\"d", &["abcd"]),
            ("one \\\n two", &["one", "two"]),
            ("a # b", &["a", "#", "b"]),
            ("é ü", &["é", "ü"]),
        ] {
            let expected: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            assert_eq!(split(text, false), Ok(expected), "{text}");
        }
    }

    #[test]
    fn variables_stay_whole_in_the_raw_model() {
        let words = |text| split(text, true).unwrap();
        assert_eq!(words("a ${B:-c d} e"), ["a", "${B:-c d}", "e"]);
        assert_eq!(
            words("a=\"${B:-${C:-x y}}\" $D"),
            ["a=${B:-${C:-x y}}", "$D"]
        );
        assert_eq!(words("$${a b}"), ["$${a", "b}"]);
        assert_eq!(split("${A", true), Err(Unsplittable::Unclosed('{')));
    }

    #[test]
    fn what_only_a_shell_could_do_is_refused() {
        for (text, c) in [
            ("a && b", '&'),
            ("a > b", '>'),
            ("a; b", ';'),
            ("(a)", '('),
            ("`a`", '`'),
        ] {
            assert_eq!(split(text, false), Err(Unsplittable::Operator(c)), "{text}");
        }
        for (text, c) in [("'a", '\''), ("\"a", '"'), ("a\\", '\\')] {
            assert_eq!(split(text, false), Err(Unsplittable::Unclosed(c)), "{text}");
        }
    }
}
