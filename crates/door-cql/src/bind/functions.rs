//! Functions of the language: which there are, which types they take, what they return.

use bytes::Bytes;
use world::{Clock, Entropy};

use super::{CqlError, Value, term::Markers};
use crate::{
    exec::BoundValue,
    lang::Term,
    types::{
        CqlType, Native, date_to_millis, days_to_date, fits, literal_value, micros_to_time,
        uuid::{TimeUuids, from_unix_ticks, unix_micros},
    },
};

/// What values depend on at the moment of execution.
pub(crate) struct Environment<'a> {
    /// The request's values, one for each marker.
    pub(crate) values: &'a [BoundValue],
    pub(crate) clock: &'a Clock,
    pub(crate) entropy: &'a Entropy,
    pub(crate) time_uuids: &'a TimeUuids,
}

impl Environment<'_> {
    /// The value bound to a marker.
    pub(super) fn bound(&self, index: usize) -> Result<&BoundValue, CqlError> {
        self.values.get(index).ok_or_else(|| CqlError::invalid("Invalid amount of bind variables"))
    }
}

/// A function, for the type of its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Uuid,
    /// Also `current_timeuuid`.
    Now,
    CurrentTimestamp,
    CurrentDate,
    CurrentTime,
    ToTimestamp(Native),
    ToDate(Native),
    ToUnixTimestamp(Native),
    MinTimeuuid,
    MaxTimeuuid,
}

/// Name, the function, the type of its argument if it has one, and its result.
const FUNCTIONS: [(&str, Function, Option<Native>, Native); 13] = [
    ("uuid", Function::Uuid, None, Native::Uuid),
    ("now", Function::Now, None, Native::Timeuuid),
    ("current_timeuuid", Function::Now, None, Native::Timeuuid),
    ("current_timestamp", Function::CurrentTimestamp, None, Native::Timestamp),
    ("current_date", Function::CurrentDate, None, Native::Date),
    ("current_time", Function::CurrentTime, None, Native::Time),
    ("to_timestamp", Function::ToTimestamp(Native::Timeuuid), Some(Native::Timeuuid), Native::Timestamp),
    ("to_timestamp", Function::ToTimestamp(Native::Date), Some(Native::Date), Native::Timestamp),
    ("to_date", Function::ToDate(Native::Timeuuid), Some(Native::Timeuuid), Native::Date),
    ("to_date", Function::ToDate(Native::Timestamp), Some(Native::Timestamp), Native::Date),
    (
        "to_unix_timestamp",
        Function::ToUnixTimestamp(Native::Timeuuid),
        Some(Native::Timeuuid),
        Native::Bigint,
    ),
    (
        "to_unix_timestamp",
        Function::ToUnixTimestamp(Native::Timestamp),
        Some(Native::Timestamp),
        Native::Bigint,
    ),
    ("to_unix_timestamp", Function::ToUnixTimestamp(Native::Date), Some(Native::Date), Native::Bigint),
];

/// These take a timestamp and are apart only because they have no overloads.
const BOUNDS: [(&str, Function, Option<Native>, Native); 2] = [
    ("min_timeuuid", Function::MinTimeuuid, Some(Native::Timestamp), Native::Timeuuid),
    ("max_timeuuid", Function::MaxTimeuuid, Some(Native::Timestamp), Native::Timeuuid),
];

/// A function and its types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    pub(super) function: Function,
    pub(super) argument: Option<Native>,
    pub(super) result: Native,
}

impl Function {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        let mut all = FUNCTIONS.iter().chain(&BOUNDS);
        all.find(|(_, function, _, _)| *function == self).expect("every function is listed").0
    }
}

/// Every signature of `name`.
fn overloads(name: &str) -> Vec<Signature> {
    // Names came with and without underscores over the years; both are good.
    let bare = |name: &str| name.replace('_', "");
    let all = FUNCTIONS.iter().chain(&BOUNDS);
    let named = all.filter(|(known, ..)| *known == name || bare(known) == name);
    named.map(|&(_, function, argument, result)| Signature { function, argument, result }).collect()
}

/// Checks the number of arguments.
///
/// # Errors
/// It is another.
pub(super) fn check_arity(name: &str, required: usize, given: usize) -> Result<(), CqlError> {
    if required == given {
        return Ok(());
    }
    Err(CqlError::Invalid(format!(
        "Invalid number of arguments in call to function system.{name}: {required} required but {given} provided"
    )))
}

/// An argument is not of its type.
pub(super) fn wrong_argument(name: &str, place: usize, shown: &str, ty: &CqlType) -> CqlError {
    CqlError::Invalid(format!(
        "Type error: {shown} cannot be passed as argument {place} of function system.{name} of type {ty}"
    ))
}

/// The overload of `name` for arguments of these types (`None`: not known yet), which the text
/// shows like that.
///
/// # Errors
/// No such function; none that takes them; several that could.
pub(super) fn resolve(name: &str, args: &[Option<CqlType>], shown: &[String]) -> Result<Signature, CqlError> {
    let known = overloads(name);
    if known.is_empty() {
        const REAL: [&str; 8] =
            ["min", "max", "sum", "avg", "count", "blob_as_text", "text_as_blob", "similarity_cosine"];
        return Err(if REAL.contains(&name) {
            CqlError::unsupported(format!("the function {name}"))
        } else {
            CqlError::Invalid(format!("Unknown function '{name}'"))
        });
    }
    if let [only] = known.as_slice() {
        check_arity(name, usize::from(only.argument.is_some()), args.len())?;
    }
    let takes = |signature: &Signature| match (signature.argument, args) {
        (None, []) => true,
        (Some(wanted), [given]) => given.as_ref().is_none_or(|given| CqlType::Native(wanted).takes(given)),
        _ => false,
    };
    let mut fitting = known.iter().filter(|signature| takes(signature));
    let signature = |Signature { argument, result, .. }: &Signature| {
        let argument = argument.map(|ty| ty.to_string()).unwrap_or_default();
        format!("system.{name} : ({argument}) -> {result}")
    };
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(*one),
        (Some(_), Some(_)) => {
            let signatures: Vec<String> =
                known.iter().rev().filter(|one| takes(one)).map(signature).collect();
            Err(CqlError::Invalid(format!(
                "Ambiguous call to function {name} (can be matched by following signatures: {}): use type casts to \
                 disambiguate",
                signatures.join(", ")
            )))
        }
        _ => {
            if let ([Signature { argument: Some(ty), .. }], [argument]) = (known.as_slice(), shown) {
                return Err(wrong_argument(name, 0, argument, &CqlType::Native(*ty)));
            }
            let signatures: Vec<String> = known.iter().map(signature).collect();
            Err(CqlError::Invalid(format!(
                "Invalid call to function {name}, none of its type signatures match (known type signatures: {})",
                signatures.join(", ")
            )))
        }
    }
}

/// Binds a call in a place that wants `ty`.
pub(super) fn bind_call(
    name: &str,
    args: &[Term],
    ty: &CqlType,
    receiver: &str,
    markers: &mut Markers,
) -> Result<Value, CqlError> {
    let mut types = Vec::with_capacity(args.len());
    for arg in args {
        types.push(argument_type(name, arg)?);
    }
    let shown: Vec<String> = args.iter().map(Term::to_string).collect();
    let signature = resolve(name, &types, &shown).map_err(|error| match error {
        CqlError::Invalid(message) if message == format!("Unknown function '{name}'") => {
            CqlError::Invalid(format!("Unknown function {name} called"))
        }
        error => error,
    })?;
    let result = CqlType::Native(signature.result);
    if !ty.takes(&result) {
        return Err(CqlError::Invalid(format!(
            "Type error: cannot assign result of function system.{name} (type {result}) to {receiver} (type {ty})"
        )));
    }
    let mut bound = Vec::with_capacity(args.len());
    for (i, arg) in args.iter().enumerate() {
        let ty = CqlType::Native(
            signature.argument.expect("a signature that takes arguments has a type for them"),
        );
        bound.push(markers.value(arg, &format!("arg{i}"), &ty)?);
    }
    Ok(Value::Call { function: signature.function, args: bound })
}

/// The type of an argument, where the argument itself says it; for literals, that of the only
/// overload that fits.
fn argument_type(name: &str, arg: &Term) -> Result<Option<CqlType>, CqlError> {
    match arg {
        Term::Call { name, args } => {
            let types = args.iter().map(|arg| argument_type(name, arg)).collect::<Result<Vec<_>, _>>()?;
            let shown: Vec<String> = args.iter().map(Term::to_string).collect();
            Ok(Some(CqlType::Native(resolve(name, &types, &shown)?.result)))
        }
        Term::TypeHint { ty, .. } => Ok(Some(CqlType::from_expr(ty)?)),
        Term::Literal(literal) => {
            let mut fitting = overloads(name).into_iter().filter_map(|signature| signature.argument);
            let first = fitting.find(|native| {
                fits(literal.kind, *native) && literal_value(&CqlType::Native(*native), literal, "").is_ok()
            });
            Ok(first.map(CqlType::Native))
        }
        _ => Ok(None),
    }
}

/// Calls.
///
/// # Errors
/// Arguments outside the range of the result.
pub(crate) fn call(
    function: Function,
    args: &[Option<Bytes>],
    environment: &Environment<'_>,
) -> Result<Option<Bytes>, CqlError> {
    let now_micros = environment.clock.wall_micros() as i64;
    let now_millis = now_micros / 1000;
    Ok(Some(match function {
        Function::Uuid => bytes(environment.entropy.uuid().to_be_bytes()),
        Function::Now => bytes(environment.time_uuids.next(environment.clock).to_be_bytes()),
        Function::CurrentTimestamp => bytes(now_millis.to_be_bytes()),
        Function::CurrentDate => bytes(days_to_date(now_millis).to_be_bytes()),
        Function::CurrentTime => bytes(micros_to_time(now_micros).to_be_bytes()),
        Function::ToTimestamp(from) | Function::ToUnixTimestamp(from) => match millis(from, args) {
            Some(millis) => bytes(millis.to_be_bytes()),
            None => return Ok(None),
        },
        Function::ToDate(from) => match millis(from, args) {
            Some(millis) => bytes(days_to_date(millis).to_be_bytes()),
            None => return Ok(None),
        },
        Function::MinTimeuuid | Function::MaxTimeuuid => {
            let Some(millis) = millis(Native::Timestamp, args) else {
                return Ok(None);
            };
            // The smallest and largest lower half there are, in the order of signed bytes.
            let (extra, lower) = match function {
                Function::MinTimeuuid => (0, 0x8080_8080_8080_8080),
                _ => (9999, 0x7f7f_7f7f_7f7f_7f7f),
            };
            bytes(from_unix_ticks(millis.wrapping_mul(10_000).wrapping_add(extra), lower).to_be_bytes())
        }
    }))
}

fn bytes<const N: usize>(value: [u8; N]) -> Bytes {
    Bytes::copy_from_slice(&value)
}

/// The moment an argument tells, in milliseconds since 1970.
fn millis(from: Native, args: &[Option<Bytes>]) -> Option<i64> {
    let value = args.first()?.as_ref()?;
    Some(match from {
        Native::Timeuuid => {
            unix_micros(u128::from_be_bytes(value.as_ref().try_into().ok()?)).div_euclid(1000)
        }
        Native::Date => date_to_millis(u32::from_be_bytes(value.as_ref().try_into().ok()?)),
        _ => i64::from_be_bytes(value.as_ref().try_into().ok()?),
    })
}
