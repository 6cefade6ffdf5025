//! seccomp: which system calls exist for the container.

pub(crate) mod install;
/// stub
#[derive(Debug)]
pub struct Program { /// f
pub filter: Vec<u64>, /// l
pub listener: bool }
impl Program { pub(crate) fn load_flags(&self)->u32 {0} }
pub(crate) fn compile(_p:&oci_spec::runtime::LinuxSeccomp)->Result<Program,std::fmt::Error>{Ok(Program{filter:vec![],listener:false})}
