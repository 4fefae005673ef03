//! Changes at run time: lines of JSON on standard input.

use pysfu_netem::{Change, Script};
use serde::Deserialize;

use crate::specification;

/// Longer lines are no commands; a trace fits.
const LONGEST: usize = 16 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Command {
    /// Only this link; otherwise all there are and all to come.
    pub(crate) link: Option<u32>,
    pub(crate) down: Option<Change>,
    pub(crate) up: Option<Change>,
    /// Replaces what is left of the script; times count from now.
    pub(crate) down_script: Option<Script>,
    pub(crate) up_script: Option<Script>,
}

pub(crate) struct Commands {
    partial: Vec<u8>,
}

pub(crate) enum Line {
    Command(Box<Command>),
    Bad(String),
}

impl Commands {
    pub(crate) fn new() -> Self {
        Self { partial: Vec::new() }
    }

    /// Reads once; none at the end of the input.
    pub(crate) fn read(&mut self) -> Option<Vec<Line>> {
        let mut buffer = [0u8; 65_536];
        // Not through `Stdin`, whose buffer `ppoll` does not see.
        // SAFETY: the buffer is as long as said, and lives until the call returns.
        let count = unsafe { libc::read(libc::STDIN_FILENO, buffer.as_mut_ptr().cast(), buffer.len()) };
        let count = usize::try_from(count).ok().filter(|&count| count > 0)?;
        Some(self.lines(&buffer[..count]))
    }

    fn lines(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                self.partial.push(byte);
                if self.partial.len() > LONGEST {
                    self.partial.clear();
                    lines.push(Line::Bad("line too long".to_owned()));
                }
                continue;
            }
            let line = std::mem::take(&mut self.partial);
            if !line.trim_ascii().is_empty() {
                lines.push(parse(&String::from_utf8_lossy(&line)));
            }
        }
        lines
    }
}

fn parse(line: &str) -> Line {
    let command: Command = match specification::parse(line) {
        Ok(command) => command,
        Err(error) => return Line::Bad(error.to_string()),
    };
    let changes = [&command.down, &command.up].into_iter().flatten().map(Change::check);
    let scripts = [&command.down_script, &command.up_script]
        .into_iter()
        .flatten()
        .map(Script::check);
    let mistake = changes.chain(scripts).find_map(Result::err);
    match mistake {
        None => Line::Command(Box::new(command)),
        Some(error) => Line::Bad(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let text = b"{\"down\": {\"capacity\": 500000}}\n\n{\"up\": {\"duplicate\": 7}}\n{\"link\"";
        for cut in 0..text.len() {
            let mut commands = Commands::new();
            let mut lines = commands.lines(&text[..cut]);
            lines.extend(commands.lines(&text[cut..]));
            assert_eq!(lines.len(), 2);
            assert!(matches!(&lines[0], Line::Command(command) if command.down.is_some() && command.link.is_none()));
            assert!(matches!(&lines[1], Line::Bad(_)));
        }
    }

    #[test]
    fn scripts_are_commands_and_mistakes_are_named() {
        let read = |text: &str| Commands::new().lines(text.as_bytes()).pop().unwrap();
        let Line::Command(command) = read("{\"link\": 3, \"down_script\": [[1.5, {\"capacity\": 0}]]}\n") else {
            panic!("no command");
        };
        assert_eq!(command.link, Some(3));
        assert_eq!(command.down_script.unwrap().changes().count(), 1);
        for text in [
            "x\n",
            "{\"downs\": 1}\n",
            "{\"down\": {\"loss\": {\"independent\": 2}}}\n",
        ] {
            assert!(matches!(read(text), Line::Bad(_)), "{text}");
        }
    }
}
