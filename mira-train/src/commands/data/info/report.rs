//! What `mira-train data info` found, in words and as JSON.

use std::fmt::{self, Write as _};
use std::path::Path;

use serde_json::{Value, json};

use crate::data::{DEFAULT_MAX_BAD_FRACTION, Format, Survey, are_too_many};
use crate::text::{bytes, count, one_line};

/// Corrupt images named in words; JSON has all.
const MAX_LISTED: usize = 20;

/// Classes named in words.
const MAX_CLASSES: usize = 10;

pub(super) struct Report<'a> {
    pub(super) path: Option<&'a Path>,
    pub(super) format: Format,
    pub(super) parts: Vec<Part<'a>>,
    pub(super) no_test: Option<&'a str>,
}

pub(super) struct Part<'a> {
    pub(super) name: &'static str,
    pub(super) class_names: &'a [String],
    /// Whether its images lie in folders of their own within tar shards.
    pub(super) has_folders: bool,
    pub(super) survey: Survey,
}

impl Report<'_> {
    pub(super) fn num_corrupt(&self) -> usize {
        self.parts.iter().map(|part| part.survey.corrupt.len()).sum()
    }

    fn num_examined(&self) -> usize {
        self.parts.iter().map(|part| part.survey.num_examined).sum()
    }

    fn num_images(&self) -> usize {
        self.parts.iter().map(|part| part.survey.num_images).sum()
    }

    fn path(&self) -> String {
        self.path.map_or_else(|| "the images in the binary".into(), |p| p.display().to_string())
    }

    pub(super) fn to_json(&self) -> String {
        let parts = self.parts.iter().map(|part| (part.name.to_owned(), part.to_json()));
        let report = json!({
            "path": self.path.map(|path| path.display().to_string()),
            "format": self.format.name(),
            "splits": parts.collect::<serde_json::Map<_, _>>(),
            "no_test": self.no_test,
            "num_images": self.num_images(),
            "num_examined": self.num_examined(),
            "num_corrupt": self.num_corrupt(),
        });
        format!("{report}\n")
    }

    fn verdict(&self) -> String {
        let (num_corrupt, num_examined) = (self.num_corrupt(), self.num_examined());
        let is_all = num_examined == self.num_images();
        let of = if is_all { "" } else { " of a sample" };
        let mut text = match num_corrupt {
            0 => format!("no corrupt image among {}{of}", count(num_examined)),
            n => format!("{} of {} images{of} corrupt", count(n), count(num_examined)),
        };
        if !is_all {
            text += "; decode all with --check";
        } else if num_corrupt > 0 {
            let are_too_many = |part: &Part<'_>| {
                let Survey { corrupt, num_images, .. } = &part.survey;
                are_too_many(corrupt.len(), *num_images, DEFAULT_MAX_BAD_FRACTION)
            };
            text += if self.parts.iter().any(are_too_many) {
                "; runs end at so many, unless data.max_bad_fraction is raised"
            } else {
                "; runs do without so few"
            };
        }
        text
    }
}

impl Part<'_> {
    fn to_json(&self) -> Value {
        let survey = &self.survey;
        let classes = self.class_names.iter().zip(&survey.class_counts);
        let corrupt = survey.corrupt.iter();
        json!({
            "num_images": survey.num_images,
            "num_unlabelled": survey.num_unlabelled,
            "classes": classes.map(|(name, n)| json!({ "name": name, "num_images": n })).collect::<Vec<_>>(),
            "num_bytes": survey.num_bytes,
            "mean_bytes": self.mean_bytes(),
            "num_examined": survey.num_examined,
            "num_turned": survey.num_turned,
            "smallest": survey.sizes.map(|s| s.smallest),
            "median": survey.sizes.map(|s| s.median),
            "largest": survey.sizes.map(|s| s.largest),
            "corrupt": corrupt.map(|c| json!({ "index": c.index, "name": c.name, "reason": c.reason })).collect::<Vec<_>>(),
        })
    }

    fn mean_bytes(&self) -> Option<f64> {
        self.survey.num_bytes.map(|sum| sum as f64 / self.survey.num_images as f64)
    }

    /// "4,000 images, 23.4 MiB (mean 6.0 KiB)"
    fn amount(&self) -> String {
        let mut text = images(self.survey.num_images);
        if let Some(sum) = self.survey.num_bytes {
            let mean = sum / (self.survey.num_images as u64).max(1);
            let _ = write!(text, ", {} (mean {})", bytes(sum), bytes(mean));
        }
        text
    }

    fn classes(&self) -> String {
        if self.class_names.is_empty() && self.has_folders {
            return "no classes: in tar shards they are in .cls or .json files beside the images, not in folders; \
                    for class folders, unpack the archive and give its folder"
                .into();
        }
        if self.class_names.is_empty() {
            return "no classes".into();
        }
        let names = self.class_names.iter().take(MAX_CLASSES);
        let mut names = names.map(|name| one_line(name)).collect::<Vec<_>>();
        if self.class_names.len() > MAX_CLASSES {
            names.push("…".into());
        }
        format!("{} classes: {}", count(self.class_names.len()), names.join(", "))
    }

    /// The smallest and the largest class.
    fn balance(&self) -> Option<String> {
        let classes = || self.class_names.iter().zip(&self.survey.class_counts);
        let (smallest, fewest) = classes().min_by_key(|&(_, n)| n)?;
        let (_, most) = classes().max_by_key(|&(_, n)| n)?;
        if fewest == most {
            return Some(format!("{} a class", images(*fewest)));
        }
        // The first of several, as for the smallest.
        let (largest, _) = classes().find(|&(_, n)| n == most)?;
        let (smallest, largest) = (one_line(smallest), one_line(largest));
        Some(format!("{} ({smallest}) to {} ({largest}) a class", count(fewest), images(*most)))
    }

    fn turned(&self) -> Option<String> {
        let n = self.survey.num_turned;
        (n > 0).then(|| format!("{} with an EXIF orientation, which is not applied", images(n)))
    }

    fn sizes(&self) -> Option<String> {
        let sizes = self.survey.sizes?;
        let shown = |(width, height): (usize, usize)| format!("{width} × {height}");
        let (smallest, largest) = (shown(sizes.smallest), shown(sizes.largest));
        if smallest == largest {
            return Some(format!("{smallest} pixels"));
        }
        Some(format!("{smallest} to {largest} pixels, median {}", shown(sizes.median)))
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", one_line(&self.path()), self.format.name())?;
        for part in &self.parts {
            writeln!(f, "  {:<8}{}", part.name, part.amount())?;
            let num_unlabelled = part.survey.num_unlabelled;
            let unlabelled = (num_unlabelled > 0 && !part.class_names.is_empty())
                .then(|| format!("{} without a class", images(num_unlabelled)));
            let facts =
                [Some(part.classes()), part.balance(), unlabelled, part.sizes(), part.turned()];
            for fact in facts.into_iter().flatten() {
                writeln!(f, "  {:<8}{fact}", "")?;
            }
        }
        if let Some(reason) = self.no_test {
            writeln!(f, "  {:<8}none: {}", "test", one_line(reason))?;
        }
        writeln!(f, "{}", self.verdict())?;
        let corrupt = || self.parts.iter().flat_map(|part| &part.survey.corrupt);
        for found in corrupt().take(MAX_LISTED) {
            writeln!(f, "  {}: {}", one_line(&found.name), one_line(&found.reason))?;
        }
        match self.num_corrupt().saturating_sub(MAX_LISTED) {
            0 => Ok(()),
            n => writeln!(f, "  and {} more; --json lists all", count(n)),
        }
    }
}

fn images(n: usize) -> String {
    if n == 1 { "1 image".into() } else { format!("{} images", count(n)) }
}
