//! Colours, where they are wanted.

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Paints text, or leaves it plain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    pub(super) fn plain() -> Self {
        Self { on: false }
    }

    /// What was said on the command line, then <https://no-color.org>, then `CLICOLOR_FORCE`,
    /// then what the stream is.
    pub(super) fn choose(
        color: Color,
        terminal: bool,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let set = |name| variable(name).is_some_and(|value| !value.is_empty());
        let on = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto if set("NO_COLOR") => false,
            Color::Auto
                if variable("CLICOLOR_FORCE").is_some_and(|v| !v.is_empty() && v != "0") =>
            {
                true
            }
            Color::Auto => terminal && variable("TERM").is_none_or(|term| term != "dumb"),
        };
        Self { on }
    }

    pub(super) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(super) fn warning(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(super) fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

    /// A name in a colour of its own, padded to `width`.
    pub(super) fn label(self, name: &str, width: usize) -> String {
        // Without red and green, which mean something.
        const CODES: [&str; 6] = ["36", "35", "34", "33", "96", "95"];
        let sum: usize = name.bytes().map(usize::from).sum();
        let padding = width.saturating_sub(super::table::width(name));
        self.with(CODES[sum % CODES.len()], name) + &" ".repeat(padding)
    }

    /// A plan: `+` is made, `~` is changed, `-` is removed.
    pub(super) fn plan(self, text: &str) -> String {
        if !self.on {
            return text.to_owned();
        }
        text.split_inclusive('\n')
            .map(|line| {
                let bare = line.trim_end_matches('\n');
                let end = &line[bare.len()..];
                let painted = match bare.trim_start().get(..2) {
                    Some("+ ") => self.good(bare),
                    Some("~ ") => self.warning(bare),
                    Some("- ") => self.bad(bare),
                    _ => bare.to_owned(),
                };
                painted + end
            })
            .collect()
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_outranks_the_environment_which_outranks_the_terminal() {
        let on = |color, terminal, set: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = set.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            Paint::choose(color, terminal, variable).on
        };
        assert!(on(Color::Auto, true, &[]));
        assert!(!on(Color::Auto, false, &[]));
        assert!(!on(Color::Auto, true, &[("TERM", "dumb")]));
        assert!(!on(Color::Auto, true, &[("NO_COLOR", "1")]));
        assert!(on(Color::Auto, true, &[("NO_COLOR", "")]));
        assert!(on(Color::Auto, false, &[("CLICOLOR_FORCE", "1")]));
        assert!(!on(Color::Auto, false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!on(
            Color::Auto,
            true,
            &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]
        ));
        assert!(on(Color::Always, false, &[("NO_COLOR", "1")]));
        assert!(!on(Color::Never, true, &[("CLICOLOR_FORCE", "1")]));
    }

    #[test]
    fn a_plan_is_painted_by_line() {
        let plan = "2 changes\n  + blog/app  create\n  - old/app  remove\n";
        assert_eq!(Paint::plain().plan(plan), plan);
        assert_eq!(
            Paint { on: true }.plan(plan),
            "2 changes\n\u{1b}[32m  + blog/app  create\u{1b}[0m\n\u{1b}[31m  - old/app  remove\u{1b}[0m\n"
        );
    }
}
