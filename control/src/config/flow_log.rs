//! `[flow_log]`: who was who, for later.

use std::path::PathBuf;

use super::report::{Complaint, Report};
use super::section::Section;
use super::value;

/// What can be logged.
const EVENTS: &[(&str, bool)] = &[("open", true), ("close", false)];

/// `[flow_log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowLogConfig {
    /// The file that lines are appended to.
    pub path: PathBuf,
    /// A line when a flow opens.
    pub opens: bool,
    /// A line when it ends.
    pub closes: bool,
}

/// Reads the table.
pub fn read(mut section: Section<'_>, report: &mut Report) -> Option<FlowLogConfig> {
    section.require("path", "\"/var/log/sluicegate/flows.jsonl\"", report);
    let path = section.text("path", report, path).map(|found| found.value);
    let events = section.texts("events", report, |text| value::word("event", text, EVENTS));
    let all = !section.has("events");
    let wants = |open: bool| all || events.iter().any(|event| event.value == open);
    let (opens, closes) = (wants(true), wants(false));
    let empty = Complaint::hinted("`events` is empty: nothing would be logged", "leave [flow_log] out");
    section.refuse_empty("events", empty, report);
    section.close(report);
    Some(FlowLogConfig { path: path?, opens, closes })
}

fn path(text: &str) -> Result<PathBuf, Complaint> {
    if !text.starts_with('/') || text.ends_with('/') || text.contains('\0') {
        let message = format!("`{}` is not an absolute path", text.escape_debug());
        return Err(Complaint::hinted(
            message,
            "the absolute path of a file, e.g. \"/var/log/sluicegate/flows.jsonl\"",
        ));
    }
    Ok(PathBuf::from(text))
}
