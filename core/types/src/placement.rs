//! Data classes and regions: where data of a class may be kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

/// The longest name of a data class or a region in bytes.
pub const PLACEMENT_NAME_BYTES_MAX: usize = 63;
/// The most classes that a tenant has rules for.
pub const PLACEMENT_RULES_MAX: usize = 64;
/// The most regions that a rule names.
pub const PLACEMENT_REGIONS_MAX: usize = 64;

/// Why text is no name, or no rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// The name of a class or a region.
    #[error(
        "{name:?} is no name of a data class or a region: 1 to {PLACEMENT_NAME_BYTES_MAX} lower-case letters, digits, hyphens \
         and underscores, of which the first is a letter"
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// A rule without a class, or without regions.
    #[error("{rule:?} is no placement rule; one is a class, a colon and its regions, such as phi: eu-central eu-west")]
    Rule {
        /// What was given.
        rule: String,
    },
    /// A class with two rules.
    #[error("data class {class} has two placement rules")]
    Repeated {
        /// The class.
        class: DataClass,
    },
    /// Too many rules, or regions in one.
    #[error("a tenant has at most {PLACEMENT_RULES_MAX} placement rules of {PLACEMENT_REGIONS_MAX} regions")]
    TooMany,
}

macro_rules! name {
    ($(#[$documentation:meta])* $name:ident) => {
        $(#[$documentation])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = PlacementError;

            fn from_str(name: &str) -> Result<Self, PlacementError> {
                match is_name(name) {
                    true => Ok(Self(name.to_owned())),
                    false => Err(PlacementError::Name { name: name.to_owned() }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
                e.str(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                d.str()?.parse().map_err(DecodeError::message)
            }
        }
    };
}

name! {
    /// What kind of data something is, such as `phi`, `pii`, `financial`, `deidentified` or `public`. A tenant may use any
    /// name.
    DataClass
}

name! {
    /// Where nodes are, such as `eu-central`.
    Region
}

fn is_name(name: &str) -> bool {
    let is_inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    name.len() <= PLACEMENT_NAME_BYTES_MAX
        && name.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && name.as_bytes().iter().all(is_inner)
}

/// Which regions may keep data of which class. A class without a rule may be anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct PlacementRules(#[n(0)] BTreeMap<DataClass, BTreeSet<Region>>);

impl PlacementRules {
    /// The regions that may keep data of a class; `None` when all may.
    #[must_use]
    pub fn regions(&self, class: &DataClass) -> Option<&BTreeSet<Region>> {
        self.0.get(class)
    }

    /// Whether a region, or a node that is in none, may keep data of a class.
    #[must_use]
    pub fn allow(&self, class: &DataClass, region: Option<&Region>) -> bool {
        self.0
            .get(class)
            .is_none_or(|regions| region.is_some_and(|region| regions.contains(region)))
    }

    /// Whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `phi: eu-central eu-west; financial: eu-central`, or `none`.
impl FromStr for PlacementRules {
    type Err = PlacementError;

    fn from_str(text: &str) -> Result<Self, PlacementError> {
        let mut rules = BTreeMap::new();
        if text.trim() == "none" {
            return Ok(Self(rules));
        }
        for rule in text.split(';') {
            let malformed = || PlacementError::Rule {
                rule: rule.trim().to_owned(),
            };
            let (class, regions) = rule.split_once(':').ok_or_else(malformed)?;
            let class: DataClass = class.trim().parse()?;
            let regions: BTreeSet<Region> = regions.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
            if regions.is_empty() {
                return Err(malformed());
            }
            if regions.len() > PLACEMENT_REGIONS_MAX || rules.len() >= PLACEMENT_RULES_MAX {
                return Err(PlacementError::TooMany);
            }
            if rules.insert(class.clone(), regions).is_some() {
                return Err(PlacementError::Repeated { class });
            }
        }
        Ok(Self(rules))
    }
}

impl fmt::Display for PlacementRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (place, (class, regions)) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            write!(f, "{separator}{class}:")?;
            for region in regions {
                write!(f, " {region}")?;
            }
        }
        Ok(())
    }
}

/// The rules of a tenant, and the region that its nodes are in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Placement {
    /// Where the nodes were when the rules were set.
    #[n(0)]
    pub region: Option<Region>,
    /// The rules.
    #[n(1)]
    pub rules: PlacementRules,
}

impl Placement {
    /// Whether the tenant's nodes may keep data of a class.
    #[must_use]
    pub fn allows(&self, class: &DataClass) -> bool {
        self.rules.allow(class, self.region.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_they_are_shown() {
        for text in ["none", "phi: eu-central", "financial: us; phi: eu-central eu-west"] {
            let rules: PlacementRules = text.parse().expect("rules");
            assert_eq!(rules.to_string(), text);
            let bytes = minicbor::to_vec(&rules).expect("writing to memory does not fail");
            assert_eq!(minicbor::decode::<PlacementRules>(&bytes).expect("rules"), rules);
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        let name = |name: &str| PlacementError::Name { name: name.to_owned() };
        let rule = |rule: &str| PlacementError::Rule { rule: rule.to_owned() };
        let twice = PlacementError::Repeated {
            class: "phi".parse().expect("a class"),
        };
        let long = "x".repeat(PLACEMENT_NAME_BYTES_MAX + 1);
        let cases = [
            ("", rule("")),
            ("phi", rule("phi")),
            ("phi:", rule("phi:")),
            ("PHI: eu", name("PHI")),
            ("phi: 1eu", name("1eu")),
            ("phi: eu, us", name("eu,")),
            ("phi: eu; phi: us", twice),
            (&format!("{long}: eu"), name(&long)),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<PlacementRules>(), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn as_many_rules_as_allowed_and_one_more() {
        let rules = |count: usize| {
            (0..count)
                .map(|class| format!("c{class}: eu"))
                .collect::<Vec<_>>()
                .join(";")
        };
        assert!(rules(PLACEMENT_RULES_MAX).parse::<PlacementRules>().is_ok());
        assert_eq!(
            rules(PLACEMENT_RULES_MAX + 1).parse::<PlacementRules>(),
            Err(PlacementError::TooMany)
        );
        let regions = |count: usize| (0..count).map(|region| format!(" r{region}")).collect::<String>();
        let text = |count| format!("phi:{}", regions(count));
        assert!(text(PLACEMENT_REGIONS_MAX).parse::<PlacementRules>().is_ok());
        assert_eq!(
            text(PLACEMENT_REGIONS_MAX + 1).parse::<PlacementRules>(),
            Err(PlacementError::TooMany)
        );
    }

    #[test]
    fn a_class_with_a_rule_needs_a_region_of_it() {
        let placement = |region: Option<&str>| Placement {
            region: region.map(|region| region.parse().expect("a region")),
            rules: "phi: eu-central".parse().expect("rules"),
        };
        let (phi, public) = ("phi".parse().expect("a class"), "public".parse().expect("a class"));
        assert!(placement(Some("eu-central")).allows(&phi));
        assert!(!placement(Some("us-east")).allows(&phi));
        assert!(!placement(None).allows(&phi));
        assert!(placement(None).allows(&public));
    }
}
