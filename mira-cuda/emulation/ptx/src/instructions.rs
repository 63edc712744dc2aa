//! From the text of one PTX instruction to the [`Operation`] that is executed; what is not known is an error that names it.

use crate::arithmetic::{Arithmetic, arithmetic, comparison};
use crate::decode::{Decoded, Decoder, Spot};
use crate::operands::{named, strength};
use crate::program::{
    Element, Handed, Logic, Named, Operation, Register, Shuffle, Source, Strength,
};

impl Decoder<'_> {
    pub(crate) fn operation(
        &mut self,
        opcode: &str,
        operands: &[String],
        called: &mut Vec<(usize, String)>,
    ) -> Decoded<Operation> {
        let parts: Vec<&str> = opcode.split('.').filter(|part| *part != "uni").collect();
        let to = |n: usize| -> Decoded<Register> {
            Ok(self.register(operands.get(n).ok_or_else(|| self.unsupported())?)?.0)
        };
        Ok(match parts[..] {
            ["mov", kind] if operands.iter().any(|o| o.starts_with('{')) => {
                self.packing(kind, operands)?
            }
            ["mov" | "not" | "and" | "or" | "xor", "pred"] => {
                let how = match parts[0] {
                    "mov" => Logic::Copy,
                    "not" => Logic::Not,
                    "and" => Logic::And,
                    "or" => Logic::Or,
                    _ => Logic::Xor,
                };
                let first = self.condition(&operands[1])?;
                let second = operands.get(2).map_or(Ok(first), |text| self.condition(text))?;
                Operation::Combine { how, to: to(0)?, from: [first, second] }
            }
            ["setp", how, of] => Operation::Compare {
                how: comparison(how, of).ok_or_else(|| self.unsupported())?,
                to: to(0)?,
                from: self.sources(&operands[1..])?,
            },
            ["selp", kind] => {
                let bits: u32 = kind[1..].parse().map_err(|_| self.unsupported())?;
                let from = self.sources(&operands[1..3])?.map(|source| match source {
                    Source::Constant(value) => Source::Constant(value & u64::MAX >> (64 - bits)),
                    other => other,
                });
                Operation::Select { to: to(0)?, from, by: self.condition(&operands[3])? }
            }
            ["cvta", memory @ ("shared" | "param"), "u64"] => Operation::Window {
                to: to(0)?,
                from: self.source(&operands[1])?,
                of: if memory == "shared" { Named::Shared } else { Named::Kernel },
            },
            ["ld", ..] => self.load(&parts, operands)?,
            ["st", ..] => self.store(&parts, operands)?,
            ["atom" | "red", .., "add", "u32"] => {
                let is_red = parts[0] == "red";
                Operation::Add {
                    old: if is_red { None } else { Some(to(0)?) },
                    to: self.address(&operands[usize::from(!is_red)], named(&parts))?,
                    value: self.source(&operands[2 - usize::from(is_red)])?,
                    strength: strength(&parts, Strength::Relaxed),
                }
            }
            ["shfl", "sync", how, "b32"] => {
                let (to, inside) = match operands[0].split_once('|') {
                    Some((to, inside)) => (to, Some(self.register(inside)?.0)),
                    None => (operands[0].as_str(), None),
                };
                let how = match how {
                    "bfly" => Shuffle::Butterfly,
                    "idx" => Shuffle::Index,
                    "up" => Shuffle::Up,
                    "down" => Shuffle::Down,
                    _ => return Err(self.unsupported()),
                };
                let from = self.sources(&operands[1..])?;
                Operation::Shuffle { how, to: self.register(to)?.0, inside, from }
            }
            ["bar", "warp", "sync"] => Operation::WarpBarrier { mask: self.source(&operands[0])? },
            ["bar" | "barrier", "sync"] if operands == ["0"] => Operation::BlockBarrier,
            ["membar", "gl"] | ["fence", "acq_rel" | "sc", "gpu"] => Operation::Fence,
            ["nanosleep", "u32"] => Operation::Sleep,
            ["trap"] => Operation::Trap,
            ["bra"] => {
                self.branches.push((self.program.code.len(), operands[0].clone()));
                Operation::Branch { to: 0 }
            }
            ["call"] => self.call(operands, called)?,
            ["ret" | "exit"] => Operation::Return,
            _ => {
                let what = arithmetic(&parts).ok_or_else(|| self.unsupported())?;
                let expected = match what {
                    Arithmetic::One(_) => 1,
                    Arithmetic::Two(_) => 2,
                    Arithmetic::Three(_) => 3,
                    Arithmetic::Insert { .. } => 4,
                };
                if operands.len() != expected + 1 {
                    return Err(self.unsupported());
                }
                Operation::Compute { what, to: to(0)?, from: self.sources(&operands[1..])? }
            }
        })
    }

    fn packing(&self, kind: &str, operands: &[String]) -> Decoded<Operation> {
        let [to, from] = operands else { return Err(self.unsupported()) };
        let whole: u32 = kind[1..].parse().map_err(|_| self.unsupported())?;
        if to.starts_with('{') {
            let parts = self.parts_of(to)?;
            let bits = whole / parts.len() as u32;
            let to = parts.iter().map(|part| match part.as_str() {
                "_" => Ok(None),
                name => Ok(Some(self.register(name)?.0)),
            });
            let to = to.collect::<Decoded<_>>()?;
            return Ok(Operation::Unpack { to, from: self.source(from)?, bits });
        }
        let parts = self.parts_of(from)?;
        let bits = whole / parts.len() as u32;
        let from = parts.iter().map(|part| self.source(part)).collect::<Decoded<_>>()?;
        Ok(Operation::Pack { to: self.register(to)?.0, from, bits })
    }

    fn load(&self, parts: &[&str], operands: &[String]) -> Decoded<Operation> {
        let [to, from] = operands else { return Err(self.unsupported()) };
        let element = self.element(parts)?;
        let names = if to.starts_with('{') { self.parts_of(to)? } else { vec![to.clone()] };
        let to = names.iter().map(|name| {
            let (register, bits) = self.register(name)?;
            Ok((register, u64::MAX >> (64 - bits)))
        });
        Ok(Operation::Load {
            to: to.collect::<Decoded<_>>()?,
            from: self.address(from, named(parts))?,
            element,
            strength: strength(parts, Strength::Weak),
        })
    }

    fn store(&self, parts: &[&str], operands: &[String]) -> Decoded<Operation> {
        let [to, from] = operands else { return Err(self.unsupported()) };
        let from = if from.starts_with('{') { self.parts_of(from)? } else { vec![from.clone()] };
        Ok(Operation::Store {
            to: self.address(to, named(parts))?,
            from: from.iter().map(|text| self.source(text)).collect::<Decoded<_>>()?,
            element: self.element(parts)?,
            strength: strength(parts, Strength::Weak),
        })
    }

    fn element(&self, parts: &[&str]) -> Decoded<Element> {
        let kind = parts[parts.len() - 1];
        let bits: u32 =
            kind.get(1..).and_then(|b| b.parse().ok()).ok_or_else(|| self.unsupported())?;
        Ok(Element { bytes: bits / 8, is_signed: kind.starts_with('s') })
    }

    /// `call.uni (retval0), name, (param0, param1)`
    fn call(&self, operands: &[String], called: &mut Vec<(usize, String)>) -> Decoded<Operation> {
        let (results, rest) = match operands.split_first() {
            Some((first, rest)) if first.starts_with('(') => (Some(first), rest),
            _ => (None, operands),
        };
        let Some((name, arguments)) = rest.split_first() else { return Err(self.unsupported()) };
        let spots = |list: Option<&String>| -> Decoded<Vec<Spot>> {
            let Some(list) = list else { return Ok(vec![]) };
            let names = list.trim_matches(['(', ')']).split(',').map(str::trim);
            let names = names.filter(|name| !name.is_empty());
            names.map(|name| self.spot(name).ok_or_else(|| self.unsupported())).collect()
        };
        called.push((self.program.code.len(), name.clone()));
        let handed = |spot: Spot| Handed { from: spot.offset, to: spot.offset, bytes: spot.bytes };
        Ok(Operation::Call {
            to: 0,
            arguments: spots(arguments.first())?.into_iter().map(handed).collect(),
            results: spots(results)?.into_iter().map(handed).collect(),
        })
    }
}
