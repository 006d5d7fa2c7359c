//! A request that could not be answered: a status and a body that says why.

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use crate::config::Problem;
use crate::config::report::{Finding, Report};
use crate::operations::{EditError, EditErrorKind, ReloadError};

/// The body of every answer from 400 on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// One sentence.
    pub error: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Everything that is wrong with the body or the config file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemBody>,
}

/// One of several problems.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemBody {
    /// `error` or `warning`.
    pub severity: String,
    /// The key, e.g. `backends[0].weight`.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Of the config file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// From 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// From 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// HTTP's status.
    pub status: StatusCode,
    /// What the client reads.
    pub body: ErrorBody,
    /// The methods that the path takes, for 405.
    pub allow: Option<&'static str>,
}

impl Failure {
    /// A failure with one sentence and a remedy.
    pub fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Failure {
        let hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        Failure { status, body: ErrorBody { error: error.into(), hint, problems: Vec::new() }, allow: None }
    }

    /// What is wrong with a body.
    pub fn body(report: Report) -> Failure {
        let problems: Vec<ProblemBody> = report.findings.into_iter().map(ProblemBody::from).collect();
        let first = problems.first().cloned().unwrap_or_default();
        let error = if first.field.is_empty() { first.message } else { format!("{}: {}", first.field, first.message) };
        let body = ErrorBody { error, hint: first.hint, problems };
        Failure { status: StatusCode::UNPROCESSABLE_ENTITY, body, allow: None }
    }

    /// A config file that was refused.
    pub fn config(problems: &[Problem]) -> Failure {
        let errors = problems.iter().filter(|problem| problem.severity == crate::config::Severity::Error).count();
        let error = format!("the config has {errors} error{}: nothing has changed", if errors == 1 { "" } else { "s" });
        let body = ErrorBody {
            error,
            hint: Some("`sluicegate check` shows them in their place".to_owned()),
            problems: problems.iter().map(ProblemBody::from).collect(),
        };
        Failure { status: StatusCode::UNPROCESSABLE_ENTITY, body, allow: None }
    }
}

/// Nothing that the API shows has parts without a JSON.
pub fn no_json(error: &serde_json::Error) -> Failure {
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("no JSON of it: {error}"), "")
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Failure {
        let status = match error.kind {
            EditErrorKind::NotFound => StatusCode::NOT_FOUND,
            EditErrorKind::Conflict => StatusCode::CONFLICT,
            EditErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            EditErrorKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure::new(status, error.message, error.hint.unwrap_or_default())
    }
}

impl From<ReloadError> for Failure {
    fn from(error: ReloadError) -> Failure {
        match error {
            ReloadError::File(problems) => Failure::config(&problems),
            ReloadError::Failed(_) => {
                let hint = "see the gateway's log and `sluicegate status`";
                Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), hint)
            }
        }
    }
}

impl From<Finding> for ProblemBody {
    fn from(finding: Finding) -> ProblemBody {
        ProblemBody {
            severity: finding.severity.name().to_owned(),
            field: finding.at.field,
            message: finding.complaint.message,
            hint: finding.complaint.hint,
            ..ProblemBody::default()
        }
    }
}

impl From<&Problem> for ProblemBody {
    fn from(problem: &Problem) -> ProblemBody {
        ProblemBody {
            severity: problem.severity.name().to_owned(),
            field: problem.field.clone(),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
            file: problem.place.as_ref().map(|place| place.file.clone()),
            line: problem.place.as_ref().map(|place| place.line),
            column: problem.place.as_ref().map(|place| place.column),
        }
    }
}
