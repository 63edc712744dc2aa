//! Sources around another one hand on what they do not change.

/// The named methods of a [`Source`](super::Source), by those of the field `source`.
macro_rules! forward {
    ($($method:ident)+) => { $(forward!(@ $method);)+ };
    (@ len) => { fn len(&self) -> usize { self.source.len() } };
    (@ num_classes) => { fn num_classes(&self) -> Option<usize> { self.source.num_classes() } };
    (@ class_names) => { fn class_names(&self) -> &[String] { self.source.class_names() } };
    (@ label) => { fn label(&self, index: usize) -> Option<u32> { self.source.label(index) } };
    (@ load) => {
        fn load(&self, index: usize, into: &mut $crate::data::Image) -> Result<(), $crate::data::Error> {
            self.source.load(index, into)
        }
    };
    (@ encoded) => {
        fn encoded(&self, index: usize, into: &mut Vec<u8>) -> Result<bool, $crate::data::Error> {
            self.source.encoded(index, into)
        }
    };
    (@ name) => { fn name(&self, index: usize) -> String { self.source.name(index) } };
    (@ relative_path) => {
        fn relative_path(&self, index: usize) -> Option<std::borrow::Cow<'_, str>> { self.source.relative_path(index) }
    };
    (@ num_bytes) => { fn num_bytes(&self, index: usize) -> Option<u64> { self.source.num_bytes(index) } };
}

pub(crate) use forward;
