//! Test images of the training images' classes.

use std::sync::Arc;

use super::Source;
use super::forward::forward;
use super::packed::numbered;

/// Whether a label of `test` means what it means in `train`. Where classes have no names, they are as many as each set's own labels need, so
/// that test images without one of the last class seem to have fewer.
pub(crate) fn has_classes_of(test: &dyn Source, train: &dyn Source) -> bool {
    let (Some(some), Some(all)) = (test.num_classes(), train.num_classes()) else { return false };
    let (names, all_names) = (test.class_names(), train.class_names());
    let has_no_names = |names: &[String]| names == numbered(names.len());
    some <= all
        && (all_names.starts_with(names)
            || has_no_names(names)
            || (some == all && has_no_names(all_names)))
}

/// Test images whose classes are all those of the training images.
pub(crate) fn with_classes_of(test: Arc<dyn Source>, train: &Arc<dyn Source>) -> Arc<dyn Source> {
    if test.class_names() == train.class_names() && test.num_classes() == train.num_classes() {
        return test;
    }
    Arc::new(WithClasses { source: test, classes: Arc::clone(train) })
}

struct WithClasses {
    source: Arc<dyn Source>,
    classes: Arc<dyn Source>,
}

impl Source for WithClasses {
    forward!(len label load encoded name relative_path num_bytes);

    fn num_classes(&self) -> Option<usize> {
        self.classes.num_classes()
    }

    fn class_names(&self) -> &[String] {
        self.classes.class_names()
    }
}
