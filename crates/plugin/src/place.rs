//! Owns where a plugin is: how that is written, and the command that starts it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::role::Role;

/// Where a plugin is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `exec:PROGRAM ARGS…`: a program that speaks the protocol.
    Exec(Vec<String>),
    /// `FILE.py[:NAME]`: a file with Python classes.
    Python {
        /// The file.
        file: PathBuf,
        /// One of its classes.
        name: Option<String>,
    },
    /// `unix:PATH`, or `unix:PATH.sock:NAME`: a socket of a program that speaks the protocol.
    Unix {
        /// The socket.
        socket: PathBuf,
        /// What to request there. It also names the plugin in messages, as the path may change.
        name: Option<String>,
    },
    /// A tracker's client library, started through the Python package.
    Tracker(TrackerPlace),
}

/// Which tracker, and its keys.
#[derive(Clone, PartialEq, Eq)]
pub struct TrackerPlace {
    /// `wandb`, `swanlab` or `clearml`.
    pub kind: String,
    /// Environment variables for its keys, so that they are not on a command line.
    pub environment: Vec<(String, String)>,
}

impl fmt::Debug for TrackerPlace {
    // the environment contains keys
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackerPlace")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Why something that looks like a plugin is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// `exec:` without a program.
    #[error("`{0}` names no program: write exec:PROGRAM ARGUMENTS")]
    NoProgram(String),
    /// An unclosed quotation mark.
    #[error("`{0}`: unclosed quotation mark, or a backslash at the end")]
    Quotes(String),
    /// `unix:` without a path.
    #[error("`{0}` names no socket: write unix:PATH")]
    NoSocket(String),
    /// The file does not exist.
    #[error("the plugin {} does not exist", .0.display())]
    NoFile(PathBuf),
}

impl Place {
    /// Parse a place; `None` if it is not meant as a plugin.
    ///
    /// ```
    /// use evalscope_plugin::Place;
    /// assert!(matches!(Place::parse("my.py:rows"), Some(Ok(Place::Python { .. }))));
    /// assert!(matches!(Place::parse("exec:./run 'a b'"), Some(Ok(Place::Exec(words))) if words[1] == "a b"));
    /// assert!(Place::parse("openqa").is_none());
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> Option<Result<Self, PlaceError>> {
        if let Some(command) = text.strip_prefix("exec:") {
            return Some(match shlex::split(command) {
                Some(words) if words.is_empty() || words[0].is_empty() => {
                    Err(PlaceError::NoProgram(text.to_owned()))
                }
                Some(words) => Ok(Self::Exec(words)),
                None => Err(PlaceError::Quotes(text.to_owned())),
            });
        }
        if let Some(path) = text.strip_prefix("unix:") {
            let (socket, name) = path_and_name(path, ".sock");
            return Some(if path.is_empty() {
                Err(PlaceError::NoSocket(text.to_owned()))
            } else {
                Ok(Self::Unix {
                    socket: socket.into(),
                    name,
                })
            });
        }
        let (file, name) = path_and_name(text, ".py");
        let is_file = Path::new(&file).extension().is_some_and(|end| end == "py");
        is_file.then(|| {
            Ok(Self::Python {
                file: file.into(),
                name,
            })
        })
    }

    /// Check that its file exists.
    ///
    /// # Errors
    /// If a file is missing.
    pub fn check(&self) -> Result<(), PlaceError> {
        match self {
            Self::Python { file, .. } if !file.is_file() => Err(PlaceError::NoFile(file.clone())),
            _ => Ok(()),
        }
    }

    /// Variables to add to the environment of its process.
    pub(crate) fn environment(&self) -> &[(String, String)] {
        match self {
            Self::Tracker(tracker) => &tracker.environment,
            _ => &[],
        }
    }

    /// The name to request from the plugin.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Python { name, .. } | Self::Unix { name, .. } => name.as_deref(),
            Self::Exec(_) | Self::Tracker(_) => None,
        }
    }

    /// The command that starts it; `None` if it is already running. `python` is the interpreter, if
    /// one was chosen.
    pub(crate) fn command(&self, role: Role, python: Option<&str>) -> Option<Vec<String>> {
        match self {
            Self::Exec(words) => Some(words.clone()),
            Self::Unix { .. } => None,
            Self::Tracker(tracker) => {
                let mut words = serving(python);
                words.extend(["--role", role.as_str(), "--kind"].map(str::to_owned));
                words.push(tracker.kind.clone());
                Some(words)
            }
            Self::Python { file, name } => {
                let mut words = serving(python);
                words.push(file.display().to_string());
                words.extend(name.clone());
                words.extend(["--role".to_owned(), role.as_str().to_owned()]);
                Some(words)
            }
        }
    }
}

/// Splits `PATH` or `PATH:NAME`, where the path has this ending.
fn path_and_name(text: &str, ending: &str) -> (String, Option<String>) {
    match text.rsplit_once(&format!("{ending}:")) {
        Some((stem, name)) => {
            let name = Some(name).filter(|name| !name.is_empty());
            (format!("{stem}{ending}"), name.map(str::to_owned))
        }
        None => (text.to_owned(), None),
    }
}

/// Serves a Python object. With `-m`, a file or folder named `evalscope` in the working directory
/// (a checkout of something else) would be taken for the package; a plugin can still import from
/// the working directory.
const SERVE: &str = "import sys; \
    here = [] if getattr(sys.flags, 'safe_path', False) else [sys.path.pop(0)]; \
    from evalscope.perf.serve import main; \
    sys.path[:0] = here; \
    sys.exit(main())";

/// The start of a command that serves a Python object.
fn serving(python: Option<&str>) -> Vec<String> {
    let python = python.map_or_else(default_python, str::to_owned);
    vec![python, "-c".to_owned(), SERVE.to_owned()]
}

/// The interpreter next to this program, where a wheel puts both; else the first one on the path.
fn default_python() -> String {
    const PYTHON: &str = "python3";
    let beside = std::env::current_exe().ok().and_then(|program| {
        let python = program.parent()?.join(PYTHON);
        python.is_file().then(|| python.display().to_string())
    });
    beside.unwrap_or_else(|| PYTHON.to_owned())
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exec(words) => {
                let words = words.iter().map(String::as_str);
                match shlex::try_join(words) {
                    Ok(command) => write!(f, "exec:{command}"),
                    Err(_) => f.write_str("exec:…"),
                }
            }
            Self::Python { file, name: None } => write!(f, "{}", file.display()),
            Self::Python {
                file,
                name: Some(name),
            } => write!(f, "{}:{name}", file.display()),
            Self::Unix { socket, name: None } => write!(f, "unix:{}", socket.display()),
            Self::Unix {
                name: Some(name), ..
            } => f.write_str(name),
            Self::Tracker(tracker) => f.write_str(&tracker.kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for text in [
            "exec:./run",
            "exec:python3 -u 'my plugin.py' x",
            "a/b.py",
            "a.py:rows",
            "unix:/tmp/s",
        ] {
            let place = Place::parse(text).unwrap().unwrap();
            assert_eq!(place.to_string(), text);
        }
        for text in ["openqa", "a.pyc", "a.py.txt", "file.toml", "", "py", ".py"] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_behind_a_socket_is_what_is_shown() {
        let place = Place::parse("unix:/tmp/x7/dataset.sock:my:rows")
            .unwrap()
            .unwrap();
        let socket = PathBuf::from("/tmp/x7/dataset.sock");
        let name = Some("my:rows".to_owned());
        assert_eq!(place, Place::Unix { socket, name });
        assert_eq!(place.to_string(), "my:rows");
    }

    #[test]
    fn mistakes_are_told() {
        let error = |text| Place::parse(text).unwrap().unwrap_err().to_string();
        insta::assert_snapshot!(error("exec: "), @"`exec: ` names no program: write exec:PROGRAM ARGUMENTS");
        insta::assert_snapshot!(error("exec:a 'b"), @"`exec:a 'b`: unclosed quotation mark, or a backslash at the end");
        insta::assert_snapshot!(error("unix:"), @"`unix:` names no socket: write unix:PATH");
        let place = Place::parse("no/such.py").unwrap().unwrap();
        insta::assert_snapshot!(place.check().unwrap_err(), @"the plugin no/such.py does not exist");
    }

    #[test]
    fn python_is_started_with_file_name_and_role() {
        let place = Place::parse("my.py:rows").unwrap().unwrap();
        let words = place.command(Role::Dataset, Some("py")).unwrap();
        assert_eq!(words[..3], ["py", "-c", SERVE]);
        assert_eq!(words[3..].join(" "), "my.py rows --role dataset");
        assert!(place.command(Role::Api, None).unwrap()[0].ends_with("python3"));
    }
}
