//! Named host tensors ↔ the parameters of a Burn module.
//!
//! Names are the paths of the module's fields, joined by dots. Start at [`apply`] and [`collect`].

use crate::error::ModelError;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use std::collections::BTreeMap;

/// A tensor in host memory, row-major, float32.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Size of each axis.
    pub shape: Vec<usize>,
    /// Values; as many as the product of `shape`.
    pub data: Vec<f32>,
}

/// Side of the squares that are transposed at once, so that both sides stay in the cache.
const TILE: usize = 64;

impl HostTensor {
    /// `[rows, columns]` → `[columns, rows]`; a tensor of other axes stays as it is.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let [rows, columns] = self.shape[..] else { return self.clone() };
        let mut data = vec![0.0; self.data.len()];
        for top in (0..rows).step_by(TILE) {
            for left in (0..columns).step_by(TILE) {
                for row in top..rows.min(top + TILE) {
                    for column in left..columns.min(left + TILE) {
                        data[column * rows + row] = self.data[row * columns + column];
                    }
                }
            }
        }
        Self { shape: vec![columns, rows], data }
    }
}

/// Tensors by name, in the order of their names.
pub type TensorMap = BTreeMap<String, HostTensor>;

/// Copies every float parameter of `module` to the host, under `prefix` + its path.
///
/// # Errors
/// [`ModelError::Device`] if the device does not give the data back.
pub fn collect<M: Module>(module: &M, prefix: &str) -> Result<TensorMap, ModelError> {
    let mut collector =
        Collector { path: Path::new(prefix), tensors: TensorMap::new(), failed: None };
    module.visit(&mut collector);
    match collector.failed {
        Some(problem) => Err(ModelError::Device(problem)),
        None => Ok(collector.tensors),
    }
}

/// Fills every float parameter of `module` from `tensors`, by `prefix` + its path.
///
/// Tensors of other prefixes are ignored; a missing, unexpected or misshapen one is an error that
/// lists them all.
///
/// # Errors
/// [`ModelError::Tensors`].
pub fn apply<M: Module>(module: M, prefix: &str, tensors: &TensorMap) -> Result<M, ModelError> {
    let mut applier =
        Applier { path: Path::new(prefix), tensors, problems: Vec::new(), used: Vec::new() };
    let module = module.map(&mut applier);
    let Applier { mut problems, used, .. } = applier;
    for name in tensors.keys().filter(|name| name.starts_with(prefix)) {
        if !used.contains(name) {
            problems.push(format!("`{name}` is not part of the model"));
        }
    }
    if problems.is_empty() { Ok(module) } else { Err(ModelError::Tensors(problems.join("; "))) }
}

/// The dotted path of the parameter a traversal stands at.
pub struct Path(Vec<String>);

impl Path {
    /// A path below `prefix` (which ends with a dot, or is empty).
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self(prefix.split('.').filter(|part| !part.is_empty()).map(String::from).collect())
    }
    /// One level down.
    pub fn enter(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }
    /// One level up.
    pub fn exit(&mut self) {
        self.0.pop();
    }
    /// The dotted form.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.join(".")
    }
}

struct Collector {
    path: Path,
    tensors: TensorMap,
    failed: Option<String>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }
    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let shape = tensor.dims().to_vec();
        match tensor
            .try_into_data()
            .map_err(|e| e.to_string())
            .and_then(|data| data.try_to_vec().map_err(|e| format!("{e:?}")))
        {
            Ok(data) => {
                self.tensors.insert(self.path.name(), HostTensor { shape, data });
            }
            Err(problem) => self.failed = Some(format!("`{}`: {problem}", self.path.name())),
        }
    }
}

struct Applier<'a> {
    path: Path,
    tensors: &'a TensorMap,
    problems: Vec<String>,
    used: Vec<String>,
}

impl ModuleMapper for Applier<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }
    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        let wanted = param.shape().to_vec();
        match self.tensors.get(&name) {
            None => self.problems.push(format!("`{name}` {wanted:?} is missing")),
            Some(host) if host.shape != wanted => {
                self.problems.push(format!(
                    "`{name}` has shape {:?}, the model asks for {wanted:?}",
                    host.shape
                ));
            }
            Some(host) => {
                self.used.push(name);
                let data = TensorData::new(host.data.clone(), host.shape.clone());
                return param.map(|tensor| {
                    let require_grad = tensor.is_require_grad();
                    Tensor::from_data(data, &tensor.device()).set_require_grad(require_grad)
                });
            }
        }
        param
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_gives_the_same() {
        let host = HostTensor { shape: vec![2, 3], data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        assert_eq!(host.transposed().data, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let (rows, columns) = (130, 67);
        let data = (0..rows * columns).map(|at| at as f32).collect();
        let host = HostTensor { shape: vec![rows, columns], data };
        assert_eq!(host.transposed().transposed(), host);
    }
}
