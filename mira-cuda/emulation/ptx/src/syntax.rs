//! The text of a module: its functions and their statements.

use crate::error::Malformed;

/// A parameter, or a variable of a function's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) bytes: usize,
    pub(crate) align: usize,
}

#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) is_kernel: bool,
    pub(crate) params: Vec<Variable>,
    pub(crate) returns: Vec<Variable>,
    /// `.maxntid`
    pub(crate) max_threads: Option<u32>,
    pub(crate) body: Vec<Statement>,
}

#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) line: u32,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Open,
    Close,
    Label(String),
    /// `.reg`, `.param`, `.shared` and the like, with what follows.
    Directive(String),
    Instruction {
        /// The predicate, and whether it must hold.
        guard: Option<(String, bool)>,
        opcode: String,
        operands: Vec<String>,
    },
}

/// What a module says.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) version: (u32, u32),
    pub(crate) functions: Vec<Function>,
    /// Dynamic shared memory's name, and static shared variables.
    pub(crate) shared: Vec<Variable>,
    /// Variables of the device that begin as zeros, and where they lie once that is known.
    pub(crate) globals: Vec<(Variable, Option<u64>)>,
}

/// Characters and the line they are on.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn advance(&mut self) {
        self.line += u32::from(self.peek() == Some(b'\n'));
        self.at += 1;
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|c| c.is_ascii_whitespace()) {
            self.advance();
        }
    }

    /// Up to one of `ends` outside of parentheses, which is not taken.
    fn until(&mut self, ends: &[u8]) -> &'a str {
        let start = self.at;
        while let Some(c) = self.peek() {
            if ends.contains(&c) {
                break;
            }
            self.advance();
        }
        self.text[start..self.at].trim()
    }
}

/// The text without comments, its lines where they were.
fn without_comments(text: &str) -> String {
    let mut lines = String::with_capacity(text.len());
    for line in text.lines() {
        lines.push_str(line.split("//").next().unwrap_or_default());
        lines.push('\n');
    }
    lines
}

/// Of `9.0`.
pub(crate) fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

pub(crate) fn parse(text: &str) -> Result<Text, Malformed> {
    let text = without_comments(text);
    let mut reader = Reader { text: &text, at: 0, line: 1 };
    let mut found = Text { version: (0, 0), functions: vec![], shared: vec![], globals: vec![] };
    let mut has_target = false;
    loop {
        reader.skip_space();
        let line = reader.line;
        let malformed = |what: &str| Malformed { line, what: what.to_owned() };
        let Some(first) = reader.peek() else { break };
        if first == b';' {
            reader.advance();
            continue;
        }
        let head = if reader.text[reader.at..].starts_with(".version")
            || reader.text[reader.at..].starts_with(".target")
            || reader.text[reader.at..].starts_with(".address_size")
        {
            reader.until(b"\n")
        } else {
            reader.until(b";{=")
        };
        if let Some(rest) = head.strip_prefix(".version") {
            found.version = version(rest).ok_or_else(|| malformed("no version"))?;
        } else if head.starts_with(".target") {
            has_target = true;
        } else if head.starts_with(".address_size") {
        } else if head.contains(".entry ") || head.contains(".func ") {
            let mut function = function(head, line)?;
            if reader.peek() == Some(b'{') {
                function.body = body(&mut reader)?;
                found.functions.push(function);
            }
        } else {
            if head.contains(".shared") {
                found.shared.push(variable(head, line)?);
            } else if head.contains(".global") && reader.peek() == Some(b';') {
                found.globals.push((variable(head, line)?, None));
            }
            reader.until(b";");
        }
    }
    if found.version == (0, 0) || !has_target {
        return Err(Malformed { line: 1, what: "no .version or no .target".to_owned() });
    }
    Ok(found)
}

/// `.visible .entry name(params) directives`, or `.func (returns) name (params)`.
fn function(head: &str, line: u32) -> Result<Function, Malformed> {
    let malformed = || Malformed { line, what: format!("a function without parameters: {head}") };
    let is_kernel = head.contains(".entry ");
    let keyword = if is_kernel { ".entry " } else { ".func " };
    let (_, rest) = head.split_once(keyword).ok_or_else(malformed)?;
    let rest = rest.trim();
    let list = |text: &str| -> Result<Vec<Variable>, Malformed> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| variable(part, line)).collect()
    };
    let (returns, rest) = match rest.strip_prefix('(') {
        Some(rest) => {
            let (returns, rest) = rest.split_once(')').ok_or_else(malformed)?;
            (list(returns)?, rest)
        }
        None => (vec![], rest),
    };
    let (name, params, directives) = match rest.split_once('(') {
        Some((name, rest)) => {
            let (params, directives) = rest.split_once(')').ok_or_else(malformed)?;
            (name, list(params)?, directives)
        }
        None => (rest, vec![], ""),
    };
    let max_threads = match directives.split_once(".maxntid") {
        Some((_, threads)) => {
            let first =
                threads.split(|c: char| c == ',' || c.is_whitespace()).find(|w| !w.is_empty());
            Some(first.and_then(|first| first.parse().ok()).ok_or_else(malformed)?)
        }
        None => None,
    };
    let name = name.split_whitespace().next().ok_or_else(malformed)?.to_owned();
    Ok(Function { name, is_kernel, params, returns, max_threads, body: vec![] })
}

/// `.param .align 8 .b8 name[72]`, `.param .u64 name` or `.extern .shared .align 128 .b8 name[]`.
pub(crate) fn variable(declaration: &str, line: u32) -> Result<Variable, Malformed> {
    let malformed =
        || Malformed { line, what: format!("a variable without a size: {declaration}") };
    let words: Vec<&str> = declaration.split_whitespace().collect();
    let bits: usize = words
        .iter()
        .filter_map(|word| word.strip_prefix('.'))
        .find_map(|word| word.strip_prefix(['b', 'u', 's', 'f'])?.parse().ok())
        .ok_or_else(malformed)?;
    let align = words.iter().position(|word| *word == ".align");
    let align = match align {
        Some(i) => words.get(i + 1).and_then(|n| n.parse().ok()).ok_or_else(malformed)?,
        None => bits / 8,
    };
    let last = words.last().ok_or_else(malformed)?;
    let (name, count) = match last.split_once('[') {
        Some((name, count)) => match count.trim_end_matches(']') {
            "" => (name, 0), // as many as the launch gives
            count => (name, count.parse().map_err(|_| malformed())?),
        },
        None => (*last, 1),
    };
    Ok(Variable { name: name.to_owned(), bytes: bits / 8 * count, align })
}

/// From the opening brace to the closing one.
fn body(reader: &mut Reader<'_>) -> Result<Vec<Statement>, Malformed> {
    let mut statements = vec![];
    let mut depth = 0;
    loop {
        reader.skip_space();
        let line = reader.line;
        let mut push = |what| statements.push(Statement { line, what });
        match reader.peek() {
            None => return Err(Malformed { line, what: "a body without an end".to_owned() }),
            Some(b'{') => {
                depth += 1;
                push(What::Open);
                reader.advance();
            }
            Some(b'}') => {
                depth -= 1;
                push(What::Close);
                reader.advance();
                if depth == 0 {
                    return Ok(statements);
                }
            }
            Some(b';') => reader.advance(),
            Some(b'.') => {
                let text = reader.until(b";").to_owned();
                push(What::Directive(text));
            }
            Some(_) => {
                let text = reader.until(b";:");
                if reader.peek() == Some(b':') {
                    push(What::Label(text.to_owned()));
                    reader.advance();
                } else {
                    push(instruction(text));
                }
            }
        }
    }
}

/// `@!%p1 add.s32 %r1, %r2, 3`
fn instruction(text: &str) -> What {
    let (guard, text) = match text.strip_prefix('@') {
        Some(rest) => {
            let (predicate, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let plain = predicate.trim_start_matches('!');
            (Some((plain.to_owned(), plain.len() == predicate.len())), rest.trim())
        }
        None => (None, text),
    };
    let (opcode, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    What::Instruction { guard, opcode: opcode.to_owned(), operands: operands(rest) }
}

/// Separated by commas outside of brackets.
fn operands(text: &str) -> Vec<String> {
    let (mut found, mut depth, mut start) = (vec![], 0, 0);
    for (i, c) in text.char_indices() {
        match c {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                found.push(text[start..i].trim().to_owned());
                start = i + 1;
            }
            _ => {}
        }
    }
    let last = text[start..].trim();
    if !last.is_empty() {
        found.push(last.to_owned());
    }
    found
}
