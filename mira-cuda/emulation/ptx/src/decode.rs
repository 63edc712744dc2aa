//! From the statements of a kernel, and of what it calls, to a [`Program`].

use std::collections::HashMap;

use crate::costs::Timing;
use crate::error::{Place, Refused};
use crate::operands::{constant, special};
use crate::program::{
    Address, Condition, Instruction, Named, Operation, Program, Register, Source,
};
use crate::registers::share;
use crate::syntax::{Function, Statement, Text, Variable, What, variable};

/// Registers declared together: `%r<563>` or one by its whole name.
#[derive(Clone, Copy)]
struct Bank {
    first: Register,
    bits: u32,
}

/// Where a name of memory stands.
#[derive(Clone, Copy)]
pub(crate) struct Spot {
    pub(crate) memory: Named,
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
}

/// A function being decoded.
#[derive(Default)]
struct Scope {
    banks: HashMap<String, Bank>,
    single: Vec<HashMap<String, Bank>>,
    spots: Vec<HashMap<String, Spot>>,
    labels: HashMap<String, u32>,
}

#[derive(Clone)]
struct Entry {
    start: u32,
    params: Vec<Spot>,
    returns: Vec<Spot>,
}

pub(crate) struct Decoder<'a> {
    text: &'a Text,
    pub(crate) program: Program,
    entries: HashMap<String, Entry>,
    /// Branches by label, to be resolved when their function is over.
    pub(crate) branches: Vec<(usize, String)>,
    scope: Scope,
    statement: (u32, String),
}

pub(crate) type Decoded<T> = Result<T, Refused>;

/// The kernel `name`.
pub(crate) fn decode(text: &Text, name: &str) -> Decoded<Program> {
    let kernel = text.functions.iter().find(|f| f.is_kernel && f.name == name);
    let kernel = kernel.ok_or_else(|| Refused::Unknown { name: name.to_owned() })?;
    let program = Program {
        kernel: name.to_owned(),
        code: vec![],
        places: vec![],
        timings: vec![],
        num_registers: 0,
        num_predicates: 0,
        thread_bytes: 0,
        shared_bytes: 0,
        params: vec![],
    };
    let mut decoder = Decoder {
        text,
        program,
        entries: HashMap::new(),
        branches: vec![],
        scope: Scope::default(),
        statement: (0, String::new()),
    };
    decoder.function(kernel)?;
    let mut program = decoder.program;
    let instructions = program.code.iter_mut().zip(&program.places);
    program.timings = instructions.map(|(i, place)| Timing::new(i, &place.text)).collect();
    Ok(program)
}

impl Decoder<'_> {
    pub(crate) fn unsupported(&self) -> Refused {
        let (line, text) = self.statement.clone();
        Refused::Unsupported { line, text }
    }

    /// Of a thread's parameters, a place of their own for each variable.
    fn reserve(&mut self, variable: &Variable) -> Spot {
        let offset = self.program.thread_bytes.next_multiple_of(8);
        self.program.thread_bytes = offset + variable.bytes;
        Spot { memory: Named::Thread, offset, bytes: variable.bytes }
    }

    fn reserve_shared(&mut self, variable: &Variable) -> Spot {
        let offset = self.program.shared_bytes.next_multiple_of(variable.align.max(1));
        self.program.shared_bytes = offset + variable.bytes;
        Spot { memory: Named::Shared, offset, bytes: variable.bytes }
    }

    /// A kernel is first in the code; what it calls follows where it is first called, behind its end.
    fn function(&mut self, function: &Function) -> Decoded<()> {
        let outer = std::mem::take(&mut self.scope);
        let mut names = HashMap::new();
        let (mut params, mut returns) = (vec![], vec![]);
        for param in &function.params {
            let spot = if function.is_kernel {
                let end = self.program.params.last().map_or(0, |last| last.end);
                let offset = end.next_multiple_of(param.align.max(1));
                self.program.params.push(offset..offset + param.bytes);
                Spot { memory: Named::Kernel, offset, bytes: param.bytes }
            } else {
                self.reserve(param)
            };
            params.push(spot);
            names.insert(param.name.clone(), spot);
        }
        for result in &function.returns {
            let spot = self.reserve(result);
            returns.push(spot);
            names.insert(result.name.clone(), spot);
        }
        if function.is_kernel {
            // Static variables first, dynamic shared memory behind them.
            let (fixed, dynamic): (Vec<_>, Vec<_>) =
                self.text.shared.iter().partition(|v| v.bytes > 0);
            let inside = function.body.iter().filter_map(|statement| match &statement.what {
                What::Directive(text) if text.starts_with(".shared") => {
                    variable(text, statement.line).ok()
                }
                _ => None,
            });
            for variable in inside.collect::<Vec<_>>().iter().chain(fixed).chain(dynamic) {
                let spot = self.reserve_shared(variable);
                names.insert(variable.name.clone(), spot);
            }
        } else if let Some(shared) = outer.spots.first() {
            let shared = shared.iter().filter(|(_, spot)| spot.memory == Named::Shared);
            names.extend(shared.map(|(name, spot)| (name.clone(), *spot)));
        }
        self.scope.spots.push(names);
        let start = self.program.code.len() as u32;
        let registers = self.program.num_registers;
        self.entries.insert(function.name.clone(), Entry { start, params, returns });
        let outer_branches = std::mem::take(&mut self.branches);
        let mut called = vec![];
        for statement in &function.body {
            self.statement(statement, &mut called)?;
        }
        for (at, label) in std::mem::replace(&mut self.branches, outer_branches) {
            let target = *self.scope.labels.get(&label).ok_or_else(|| self.unsupported())?;
            let Operation::Branch { to } = &mut self.program.code[at].operation else {
                unreachable!("only branches are kept")
            };
            *to = target;
        }
        let text = self.text;
        let end = self.program.code.len();
        let old = (registers, self.program.num_registers - registers);
        let shared = share(&mut self.program.code, start as usize..end, old, registers);
        self.program.num_registers = registers + shared;
        for (at, name) in called {
            if !self.entries.contains_key(&name) {
                let function = text.functions.iter().find(|f| f.name == name);
                self.function(function.ok_or_else(|| self.unsupported())?)?;
            }
            let entry = self.entries[&name].clone();
            let Operation::Call { to, arguments, results } = &mut self.program.code[at].operation
            else {
                unreachable!("only calls are kept")
            };
            *to = entry.start;
            for (handed, spot) in arguments.iter_mut().zip(&entry.params) {
                (handed.to, handed.bytes) = (spot.offset, handed.bytes.min(spot.bytes));
            }
            for (handed, spot) in results.iter_mut().zip(&entry.returns) {
                handed.from = spot.offset;
            }
        }
        self.scope = outer;
        Ok(())
    }

    fn statement(
        &mut self,
        statement: &Statement,
        called: &mut Vec<(usize, String)>,
    ) -> Decoded<()> {
        match &statement.what {
            What::Open => {
                self.scope.spots.push(HashMap::new());
                self.scope.single.push(HashMap::new());
            }
            What::Close => {
                self.scope.spots.pop();
                self.scope.single.pop();
            }
            What::Label(name) => {
                self.scope.labels.insert(name.clone(), self.program.code.len() as u32);
            }
            What::Directive(text) => {
                self.statement = (statement.line, text.clone());
                self.directive(text, statement.line)?;
            }
            What::Instruction { guard, opcode, operands } => {
                let condition = match guard {
                    Some((predicate, true)) => format!("@{predicate} "),
                    Some((predicate, false)) => format!("@!{predicate} "),
                    None => String::new(),
                };
                let text = format!("{condition}{opcode} {}", operands.join(", "));
                self.statement = (statement.line, text.trim_end().to_owned());
                let guard = match guard {
                    Some((predicate, holds)) => Some((self.register(predicate)?.0, *holds)),
                    None => None,
                };
                let operation = self.operation(opcode, operands, called)?;
                let (line, text) = self.statement.clone();
                self.program.code.push(Instruction { guard, operation });
                self.program.places.push(Place { line, text });
            }
        }
        Ok(())
    }

    /// `.reg .b32 %r<563>`, `.reg .b32 %temp`, `.param .b64 param0`.
    fn directive(&mut self, text: &str, line: u32) -> Decoded<()> {
        if text.starts_with(".pragma") || text.starts_with(".shared") || text.starts_with(".loc") {
            return Ok(());
        }
        if text.starts_with(".param") {
            let variable = variable(text, line).map_err(|_| self.unsupported())?;
            let spot = self.reserve(&variable);
            let names = self.scope.spots.last_mut().expect("a function's own");
            names.insert(variable.name, spot);
            return Ok(());
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let [".reg", kind, name] = words[..] else { return Err(self.unsupported()) };
        let is_predicate = kind == ".pred";
        let bits = kind.get(2..).and_then(|bits| bits.parse().ok());
        let bits = bits.or(is_predicate.then_some(1)).ok_or_else(|| self.unsupported())?;
        let (name, count) = match name.split_once('<') {
            Some((name, count)) => {
                let count = count.trim_end_matches('>').parse().map_err(|_| self.unsupported())?;
                (name, Some(count))
            }
            None => (name, None),
        };
        let Program { num_predicates, num_registers, .. } = &mut self.program;
        let total = if is_predicate { num_predicates } else { num_registers };
        let bank = Bank { first: *total as Register, bits };
        *total += count.unwrap_or(1);
        if count.is_some() {
            self.scope.banks.insert(name.to_owned(), bank);
        } else {
            let names = self.scope.single.last_mut().expect("a function's own");
            names.insert(name.to_owned(), bank);
        }
        Ok(())
    }

    /// Its number and width.
    pub(crate) fn register(&self, name: &str) -> Decoded<(Register, u32)> {
        if let Some(bank) = self.scope.single.iter().rev().find_map(|names| names.get(name)) {
            return Ok((bank.first, bank.bits));
        }
        let digits = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let bank = self.scope.banks.get(&name[..digits]).ok_or_else(|| self.unsupported())?;
        let number: Register = name[digits..].parse().map_err(|_| self.unsupported())?;
        Ok((bank.first + number, bank.bits))
    }

    pub(crate) fn spot(&self, name: &str) -> Option<Spot> {
        let local = self.scope.spots.iter().rev().find_map(|names| names.get(name)).copied();
        local.or_else(|| {
            let mut globals = self.text.globals.iter();
            let (variable, place) = globals.find(|(variable, _)| variable.name == name)?;
            let (memory, bytes) = (Named::Global, variable.bytes);
            Some(Spot { memory, offset: usize::try_from((*place)?).ok()?, bytes })
        })
    }

    pub(crate) fn source(&self, text: &str) -> Decoded<Source> {
        if let Some(special) = special(text) {
            return Ok(Source::Special(special));
        }
        if text.starts_with('%') {
            return Ok(Source::Register(self.register(text)?.0));
        }
        if let Some(constant) = constant(text) {
            return Ok(Source::Constant(constant));
        }
        // An address in the memory it is of.
        match self.spot(text) {
            Some(spot) if spot.memory != Named::Thread => Ok(Source::Constant(spot.offset as u64)),
            _ => Err(self.unsupported()),
        }
    }

    pub(crate) fn sources<const N: usize>(&self, texts: &[String]) -> Decoded<[Source; N]> {
        let mut found = [Source::Constant(0); N];
        for (found, text) in found.iter_mut().zip(texts) {
            *found = self.source(text)?;
        }
        Ok(found)
    }

    pub(crate) fn condition(&self, text: &str) -> Decoded<Condition> {
        if let Some(constant) = constant(text) {
            return Ok(Condition::Constant(constant != 0));
        }
        let plain = text.trim_start_matches('!');
        Ok(Condition::Predicate(self.register(plain)?.0, plain.len() == text.len()))
    }

    /// `[%rd1+-40]`, `[name+8]`.
    pub(crate) fn address(&self, text: &str, mut memory: Named) -> Decoded<Address> {
        let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let inside = inside.ok_or_else(|| self.unsupported())?;
        let (base, offset) = match inside.split_once('+') {
            Some((base, offset)) => {
                (base.trim(), offset.trim().parse::<i64>().map_err(|_| self.unsupported())?)
            }
            None => (inside.trim(), 0),
        };
        if base.starts_with('%') {
            return Ok(Address { memory, base: Some(self.register(base)?.0), offset });
        }
        if let Some(spot) = self.spot(base) {
            memory = spot.memory;
            return Ok(Address { memory, base: None, offset: offset + spot.offset as i64 });
        }
        Err(self.unsupported())
    }

    pub(crate) fn parts_of(&self, text: &str) -> Decoded<Vec<String>> {
        let inside = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        let inside = inside.ok_or_else(|| self.unsupported())?;
        Ok(inside.split(',').map(|part| part.trim().to_owned()).collect())
    }
}
