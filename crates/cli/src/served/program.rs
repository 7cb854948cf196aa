//! Owns the programs that serve a model: name, arguments, and how requests name the model.
//!
//! It must not know how a program is started, watched or ended.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use crate::flags::server::Attention;

/// The only address a served model can be reached at: this machine.
pub(crate) const HOST: &str = "127.0.0.1";

/// Context length for vLLM, prompt and response together, as in EvalScope.
const VLLM_LENGTH: &str = "32768";

/// Share of a GPU's memory that vLLM takes: the reference tool's.
const VLLM_MEMORY: &str = "0.9";

/// A program that serves a model with OpenAI's API and responds to `/health` when it is ready.
pub(crate) trait Program: Debug + Send + Sync {
    /// The name of its file.
    fn name(&self) -> &'static str;

    /// What makes it be there.
    fn installation(&self) -> &'static str;

    /// The model, as requests have to name it.
    fn model(&self) -> String;

    /// Its arguments, with the number of GPUs that it may use, where there are any.
    fn arguments(&self, port: u16, gpus: Option<usize>) -> Vec<String>;

    /// Variables that it is given beside those of our own environment.
    fn environment(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
}

/// `transformers serve`, of Hugging Face.
#[derive(Debug)]
pub(crate) struct Transformers {
    /// A folder, a file of weights in the GGUF format, or a hub's id.
    pub(crate) model: String,
    pub(crate) attention: Option<Attention>,
    /// Run code that comes with the model.
    pub(crate) trust: bool,
}

impl Program for Transformers {
    fn name(&self) -> &'static str {
        "transformers"
    }

    fn installation(&self) -> &'static str {
        "pip install 'transformers[serving]'"
    }

    /// It names a file of weights by its folder, a colon and the file, and takes no request that
    /// names the model in any other way than it was itself given.
    fn model(&self) -> String {
        let path = Path::new(&self.model);
        let is_weights = path.extension().is_some_and(|end| end == "gguf") && path.is_file();
        match (path.parent(), path.file_name()) {
            (Some(folder), Some(file)) if is_weights => {
                let folder = match folder.to_string_lossy() {
                    here if here.is_empty() => ".".into(),
                    folder => folder,
                };
                format!("{folder}:{}", file.to_string_lossy())
            }
            _ => self.model.clone(),
        }
    }

    fn arguments(&self, port: u16, _: Option<usize>) -> Vec<String> {
        let mut all = vec!["serve".to_owned(), self.model()];
        all.extend(["--host", HOST, "--port"].map(str::to_owned));
        all.push(port.to_string());
        if let Some(attention) = self.attention {
            all.extend(["--attn-implementation", attention.name()].map(str::to_owned));
        }
        if self.trust {
            all.push("--trust-remote-code".to_owned());
        }
        all
    }
}

/// `vllm serve`.
#[derive(Debug)]
pub(crate) struct Vllm {
    /// A folder, or a hub's id.
    pub(crate) model: String,
    /// Ids are those of `ModelScope`, not of Hugging Face.
    pub(crate) modelscope: bool,
    /// Run code that comes with the model.
    pub(crate) trust: bool,
}

impl Program for Vllm {
    fn name(&self) -> &'static str {
        "vllm"
    }

    fn installation(&self) -> &'static str {
        "pip install vllm"
    }

    fn model(&self) -> String {
        self.model.clone()
    }

    fn arguments(&self, port: u16, gpus: Option<usize>) -> Vec<String> {
        let mut all = vec!["serve".to_owned(), self.model.clone()];
        all.extend(["--served-model-name", &self.model].map(str::to_owned));
        all.extend(["--host", HOST, "--port"].map(str::to_owned));
        all.push(port.to_string());
        all.extend(["--max-model-len", VLLM_LENGTH].map(str::to_owned));
        all.extend(["--gpu-memory-utilization", VLLM_MEMORY].map(str::to_owned));
        if let Some(gpus) = gpus {
            all.extend(["--tensor-parallel-size".to_owned(), gpus.to_string()]);
        }
        if self.trust {
            all.push("--trust-remote-code".to_owned());
        }
        all
    }

    fn environment(&self) -> Vec<(&'static str, &'static str)> {
        let mut all = vec![
            // a model that was made for less is served all the same
            ("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1"),
            ("VLLM_WORKER_MULTIPROC_METHOD", "spawn"),
        ];
        if self.modelscope && !Path::new(&self.model).exists() {
            all.push(("VLLM_USE_MODELSCOPE", "True"));
        }
        all
    }
}

/// The file of a program: beside the interpreter of Python that was named, if one was, or else in
/// the first folder of `path` that has it.
pub(super) fn find(name: &str, python: Option<&str>, path: Option<&str>) -> Option<PathBuf> {
    let beside = python.and_then(|python| Path::new(python).parent().map(Path::to_owned));
    let listed = path.map(|path| std::env::split_paths(path).collect::<Vec<_>>());
    beside
        .into_iter()
        .chain(listed.into_iter().flatten())
        .filter(|folder| !folder.as_os_str().is_empty())
        .map(|folder| folder.join(name))
        .find(|file| is_program(file))
}

#[cfg(unix)]
fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file)
        .is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(file: &Path) -> bool {
    file.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vllm(model: &str) -> Vllm {
        Vllm {
            model: model.to_owned(),
            modelscope: true,
            trust: false,
        }
    }

    #[test]
    fn arguments_of_vllm() {
        let all = vllm("Qwen/Qwen3-8B").arguments(8877, Some(2)).join(" ");
        let want = "serve Qwen/Qwen3-8B --served-model-name Qwen/Qwen3-8B --host 127.0.0.1 \
                    --port 8877 --max-model-len 32768 --gpu-memory-utilization 0.9 \
                    --tensor-parallel-size 2";
        assert_eq!(all, want);
        let all = vllm("Qwen/Qwen3-8B").arguments(8877, None).join(" ");
        assert!(!all.contains("tensor-parallel"), "{all}");
    }

    #[test]
    fn only_an_id_is_one_of_modelscope() {
        let asks = |model: &str| {
            let variables = vllm(model).environment();
            variables.contains(&("VLLM_USE_MODELSCOPE", "True"))
        };
        assert!(asks("Qwen/Qwen3-8B"));
        assert!(!asks("."), "a folder that is there");
    }

    #[test]
    fn weights_in_a_file_are_named_by_folder_and_file() {
        let folder = std::env::temp_dir().join(format!("evalscope-gguf-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("m.gguf");
        let model = |path: &Path| {
            let model = path.to_str().unwrap().to_owned();
            Transformers {
                model,
                attention: None,
                trust: true,
            }
        };
        let before = model(&file).model();
        assert_eq!(before, file.to_str().unwrap(), "no such file: as it is");
        std::fs::write(&file, "").unwrap();
        let name = format!("{}:m.gguf", folder.display());
        let served = model(&file);
        assert_eq!(served.model(), name);
        let arguments = served.arguments(1, None);
        let want = ["serve", &name, "--host", "127.0.0.1", "--port", "1"];
        assert_eq!(arguments[..6], want);
        assert_eq!(arguments[6..], ["--trust-remote-code"]);
        assert_eq!(model(&folder).model(), folder.to_str().unwrap());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
