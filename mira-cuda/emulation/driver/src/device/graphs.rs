//! Captured work.

use super::{Device, Done};
use crate::code::Code;
use crate::stream::{Capture, Key};

impl Device {
    pub(crate) fn begin_capture(&mut self, key: Key) -> Done {
        if key == Key::LEGACY {
            return Err(Code::CAPTURE_UNSUPPORTED);
        }
        let capture = &mut self.stream(key).capture;
        if capture.is_some() {
            return Err(Code::CAPTURE_UNSUPPORTED);
        }
        *capture = Some(Capture::default());
        Ok(())
    }

    /// The graph's handle.
    pub(crate) fn end_capture(&mut self, key: Key) -> Done<usize> {
        let capture = self.stream(key).capture.take().ok_or(Code::CAPTURE_UNSUPPORTED)?;
        if capture.is_invalid {
            return Err(Code::CAPTURE_INVALIDATED);
        }
        let handle = self.handle();
        self.graphs.insert(handle, capture.work);
        Ok(handle)
    }

    pub(crate) fn is_capturing(&mut self, key: Key) -> bool {
        self.stream(key).capture.is_some()
    }

    pub(crate) fn is_capturing_anywhere(&self) -> bool {
        self.streams.values().any(|stream| stream.capture.is_some())
    }

    pub(crate) fn copy_graph(&mut self, graph: usize) -> Done<usize> {
        let work = self.graphs.get(&graph).ok_or(Code::INVALID_HANDLE)?.clone();
        let handle = self.handle();
        self.graphs.insert(handle, work);
        Ok(handle)
    }

    pub(crate) fn destroy_graph(&mut self, graph: usize) -> Done {
        self.graphs.remove(&graph).map(drop).ok_or(Code::INVALID_HANDLE)
    }

    pub(crate) fn launch_graph(&mut self, graph: usize, key: Key) -> Done {
        let work = self.graphs.get(&graph).ok_or(Code::INVALID_HANDLE)?.clone();
        work.into_iter().try_for_each(|work| self.enqueue(key, work))
    }
}
