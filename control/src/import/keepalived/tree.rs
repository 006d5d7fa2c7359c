//! keepalived.conf as a tree: statements, some with a block of statements.

/// Deeper blocks mean nothing in keepalived, and must not use up the stack.
const DEEPEST: usize = 8;

/// A line, and the block behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statement {
    /// Its line in the file, from 1.
    pub line: usize,
    /// Its words; the first says what it is.
    pub words: Vec<String>,
    /// The statements between its braces.
    pub block: Vec<Statement>,
}

impl Statement {
    /// The first word.
    pub fn keyword(&self) -> &str {
        self.word(0)
    }

    /// A word, or nothing.
    pub fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }

    /// A number.
    pub fn number<T: std::str::FromStr>(&self, at: usize) -> Option<T> {
        self.word(at).parse().ok()
    }

    /// The first statement of the block with this keyword.
    pub fn find(&self, keyword: &str) -> Option<&Statement> {
        self.block.iter().find(|statement| statement.keyword() == keyword)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Open,
    Close,
    End,
}

/// Reads the text; what stands deeper than makes sense, or outside its braces, is put where it can be named.
pub fn parse(text: &str) -> Vec<Statement> {
    // The innermost open block is the last.
    let mut open: Vec<Vec<Statement>> = vec![Vec::new()];
    let mut statement = Statement::default();
    for (line, token) in tokens(text) {
        match token {
            Token::Word(word) => {
                if statement.words.is_empty() {
                    statement.line = line;
                }
                statement.words.push(word);
            }
            Token::End => finish(&mut open, &mut statement),
            Token::Open => {
                // The brace may stand on a line of its own.
                if statement.words.is_empty()
                    && let Some(last) = open.last_mut().and_then(Vec::pop)
                {
                    statement = last;
                }
                if open.len() <= DEEPEST {
                    finish(&mut open, &mut statement);
                    open.push(Vec::new());
                }
            }
            Token::Close => {
                finish(&mut open, &mut statement);
                close(&mut open);
            }
        }
    }
    finish(&mut open, &mut statement);
    while open.len() > 1 {
        close(&mut open);
    }
    open.pop().unwrap_or_default()
}

fn finish(open: &mut [Vec<Statement>], statement: &mut Statement) {
    let done = std::mem::take(statement);
    if let Some(block) = open.last_mut().filter(|_| !done.words.is_empty()) {
        block.push(done);
    }
}

fn close(open: &mut Vec<Vec<Statement>>) {
    if open.len() < 2 {
        return;
    }
    let block = open.pop().unwrap_or_default();
    if let Some(owner) = open.last_mut().and_then(|outer| outer.last_mut()) {
        owner.block.extend(block);
    }
}

fn tokens(text: &str) -> Vec<(usize, Token)> {
    let mut tokens = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let (mut word, mut quoted) = (String::new(), false);
        let mut put = |word: &mut String| {
            if !word.is_empty() {
                tokens.push((at + 1, Token::Word(std::mem::take(word))));
            }
        };
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                _ if quoted => word.push(c),
                '#' | '!' if word.is_empty() => break,
                '{' | '}' => {
                    put(&mut word);
                    word.push(c);
                    put(&mut word);
                }
                _ if c.is_whitespace() => put(&mut word),
                _ => word.push(c),
            }
        }
        put(&mut word);
        tokens.push((at + 1, Token::End));
    }
    let brace = |token| match token {
        Token::Word(word) if word == "{" => Token::Open,
        Token::Word(word) if word == "}" => Token::Close,
        other => other,
    };
    tokens.into_iter().map(|(line, token)| (line, brace(token))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(statements: &[Statement]) -> String {
        let one = |statement: &Statement| {
            let block =
                if statement.block.is_empty() { String::new() } else { format!("{{{}}}", show(&statement.block)) };
            format!("{}:{}{block}", statement.line, statement.words.join("_"))
        };
        statements.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn blocks_open_on_their_line_or_on_the_next() {
        let text = "a 1 {\n  b 2 # no\n  c\n  {\n    d \"e f\"\n  }\n}\n! no\ng{h}\n";
        assert_eq!(show(&parse(text)), "1:a_1{2:b_2 3:c{5:d_e f}} 9:g{9:h}");
    }

    #[test]
    fn braces_without_partners_hurt_nobody() {
        // A block of nothing goes with its contents.
        assert_eq!(show(&parse("}}} a {{ b")), "1:a");
        parse(&"a {\n".repeat(100_000));
    }
}
