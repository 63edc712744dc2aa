//! Events: points of streams that others may wait for.

use std::time::Instant;

use super::{Device, Done, Event};
use crate::code::Code;
use crate::stream::{Key, Moment, Work};

impl Device {
    pub(crate) fn new_event(&mut self) -> usize {
        let handle = self.handle();
        self.events.insert(handle, Event::default());
        handle
    }

    pub(crate) fn destroy_event(&mut self, event: usize) -> Done {
        self.events.remove(&event).map(drop).ok_or(Code::INVALID_HANDLE)
    }

    pub(crate) fn record(&mut self, event: usize, key: Key) -> Done {
        let is_captured = self.stream(key).capture.is_some();
        let number = {
            let event = self.events.get_mut(&event).ok_or(Code::INVALID_HANDLE)?;
            event.is_captured = is_captured;
            event.recorded.map_or(0, |(_, number)| number + 1)
        };
        if is_captured {
            return Ok(());
        }
        self.push(key, Work::Record { event, number });
        let moment = self.end_of(key);
        if let Some(event) = self.events.get_mut(&event) {
            event.recorded = Some((moment, number));
        }
        Ok(())
    }

    pub(crate) fn wait(&mut self, key: Key, event: usize) -> Done {
        let event = self.events.get(&event).ok_or(Code::INVALID_HANDLE)?;
        let (is_captured, recorded) = (event.is_captured, event.recorded);
        if let Some(capture) = &mut self.stream(key).capture {
            if is_captured || recorded.is_none() {
                return Ok(()); // of this stream, since the stand-in captures no fork
            }
            capture.is_invalid = true;
            return Err(Code::CAPTURE_ISOLATION);
        }
        if is_captured {
            return Err(Code::CAPTURED_EVENT);
        }
        if let Some((moment, _)) = recorded
            && !self.is_past(moment)
        {
            self.push(key, Work::After(moment));
        }
        Ok(())
    }

    /// Whether what was recorded is done.
    pub(crate) fn is_reached(&self, event: usize) -> Done<bool> {
        let event = self.events.get(&event).ok_or(Code::INVALID_HANDLE)?;
        if event.is_captured {
            return Err(Code::CAPTURED_EVENT);
        }
        Ok(event.recorded.is_none_or(|(moment, _)| self.is_past(moment)))
    }

    /// The same when a host asks: a device gets on meanwhile, so its stream does one thing more.
    pub(crate) fn query_event(&mut self, event: usize) -> Done<bool> {
        if !self.is_reached(event)?
            && let Some((moment, _)) = self.events.get(&event).and_then(|event| event.recorded)
        {
            let count = self.stream(moment.stream).done + 1;
            self.reach(Moment { count, ..moment })?;
            return Ok(false);
        }
        Ok(true)
    }

    pub(crate) fn synchronize_event(&mut self, event: usize) -> Done {
        if self.is_reached(event)? {
            return Ok(());
        }
        let recorded = self.events.get(&event).and_then(|event| event.recorded);
        recorded.map_or(Ok(()), |(moment, _)| self.reach(moment))
    }

    pub(crate) fn milliseconds(&self, start: usize, end: usize) -> Done<f32> {
        let time = |event| -> Done<Instant> {
            let event = self.events.get(&event).ok_or(Code::INVALID_HANDLE)?;
            let (_, number) = event.recorded.ok_or(Code::INVALID_HANDLE)?;
            match event.reached {
                Some((reached, time)) if reached == number => Ok(time),
                _ => Err(Code::NOT_READY),
            }
        };
        let (start, end) = (time(start)?, time(end)?);
        Ok(end.saturating_duration_since(start).as_secs_f32() * 1e3)
    }
}
