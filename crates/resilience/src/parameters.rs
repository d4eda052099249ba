//! What a URL asks for besides its place: each parameter is heard by somebody, or refused by name.
//!
//! A parameter that nobody knows is not named: in a URL that was read wrongly it may be a part of a password.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use crate::url::UrlParts;

/// Where a password is.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// It stands in the URL.
    Given(String),
    /// It is all that a file holds, but for the line's end. Who replaces the file, as a vault or an orchestrator does,
    /// is heard at the next connection.
    InFile(PathBuf),
}

impl Password {
    /// Reads it, from its file as it is now.
    pub fn read(&self) -> Result<String, String> {
        let path = match self {
            Self::Given(password) => return Ok(password.clone()),
            Self::InFile(path) => path,
        };
        let text = fs::read_to_string(path)
            .map_err(|error| format!("the password file {} cannot be read: {error}", path.display()))?;
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(format!("the password file {} is empty", path.display()));
        }
        Ok(password.to_owned())
    }
}

/// Shows where it is, and not what it is.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("***"),
            Self::InFile(path) => write!(f, "in {}", path.display()),
        }
    }
}

/// What becomes of a parameter that others know and that is not simply heard.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// These values ask for what is done anyway. Any other is refused.
    Only(&'static [&'static str]),
    /// It is refused, and this is what to do instead.
    Never(&'static str),
}

impl UrlParts {
    /// Takes out a parameter that has several names. The last one wins.
    pub fn take(&mut self, names: &[&str]) -> Option<String> {
        let mut taken = None;
        self.parameters.retain_mut(|(name, value)| {
            let is_it = names.contains(&name.as_str());
            if is_it {
                taken = Some(std::mem::take(value));
            }
            !is_it
        });
        taken
    }

    /// Takes out a parameter that says a number.
    pub fn take_number<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        let read = |text: String| text.parse().map_err(|_| format!("{name} must be a number"));
        self.take(&[name]).map(read).transpose()
    }

    /// Takes out the password, wherever it is.
    pub fn take_password(&mut self) -> Result<Option<Password>, String> {
        let given = [self.password.take().filter(|it| !it.is_empty()), self.take(&["password"])];
        let file = self.take(&["password_file"]);
        match (given.into_iter().flatten().next_back(), file) {
            (Some(_), Some(_)) => {
                Err("a password beside password_file: leave one of the two away".to_owned())
            }
            (Some(password), None) => Ok(Some(Password::Given(password))),
            (None, Some(file)) => {
                let password = Password::InFile(file.into());
                password.read()?;
                Ok(Some(password))
            }
            (None, None) => Ok(None),
        }
    }

    /// Refuses what nobody has taken: by its name if that is one of `known`, and else by what would be `heard`.
    pub fn refuse_the_rest(&self, known: &[(&str, Rule)], heard: &[&str]) -> Result<(), String> {
        for (name, value) in &self.parameters {
            match known.iter().find(|(known, _)| known == name) {
                Some((_, Rule::Only(values))) if values.contains(&value.as_str()) => {}
                Some((name, Rule::Only(values))) => {
                    return Err(format!("{name} may only be {}", values.join(" or ")));
                }
                Some((name, Rule::Never(mend))) => return Err(format!("{name} is not heard here: {mend}")),
                None => {
                    return Err(format!(
                        "one of its parameters is not known; those that are: {}",
                        heard.join(", ")
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ServerUrl;

    const KNOWN: [(&str, Rule); 2] =
        [("passfile", Rule::Never("write password_file")), ("sslsni", Rule::Only(&["1"]))];

    fn parts(url: &str) -> UrlParts {
        ServerUrl::from(url).parts().unwrap()
    }

    fn refused(url: &str) -> Result<(), String> {
        parts(url).refuse_the_rest(&KNOWN, &["sslmode"])
    }

    #[test]
    fn a_parameter_is_refused_by_its_name_unless_it_may_be_a_part_of_a_password() {
        assert_eq!(refused("a://h?sslsni=1"), Ok(()));
        assert_eq!(refused("a://h?sslsni=0"), Err("sslsni may only be 1".into()));
        let never = "passfile is not heard here: write password_file";
        assert_eq!(refused("a://h?passfile=/x"), Err(never.into()));
        let unknown = "one of its parameters is not known; those that are: sslmode";
        assert_eq!(refused("a://h?password2=hunt&er2=1"), Err(unknown.into()));
    }

    #[test]
    fn the_last_of_several_wins_under_whichever_name() {
        let mut parts = parts("a://h?sslcert=1&x=2&certfile=3&n=70000");

        assert_eq!(parts.take(&["sslcert", "certfile"]).as_deref(), Some("3"));
        assert_eq!(parts.take(&["sslcert", "certfile"]), None);
        assert_eq!(parts.take_number::<u16>("n"), Err("n must be a number".into()));
        assert_eq!(parts.parameters, [("x".into(), "2".into())]);
    }

    #[test]
    fn a_password_stands_in_one_place() {
        let file = std::env::temp_dir().join(format!("ltv-password-{}", std::process::id()));
        fs::write(&file, "s@c ret\r\n").unwrap();
        let taken = |url: &str| parts(&url.replace("FILE", file.to_str().unwrap())).take_password();

        assert_eq!(taken("a://u@h"), Ok(None));
        assert_eq!(taken("a://u:@h"), Ok(None));
        assert_eq!(taken("a://u:p@h"), Ok(Some(Password::Given("p".into()))));
        assert_eq!(taken("a://u:p@h?password=q"), Ok(Some(Password::Given("q".into()))));
        assert_eq!(taken("a://u@h?password_file=FILE").unwrap().unwrap().read(), Ok("s@c ret".into()));
        assert!(taken("a://u:p@h?password_file=FILE").unwrap_err().contains("leave one of the two away"));

        fs::write(&file, "new").unwrap();
        assert_eq!(Password::InFile(file.clone()).read(), Ok("new".into()));
        fs::write(&file, "\n").unwrap();
        assert!(taken("a://u@h?password_file=FILE").unwrap_err().ends_with("is empty"));
        fs::remove_file(&file).unwrap();
        assert!(taken("a://u@h?password_file=FILE").unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(format!("{:?}", Password::Given("hunter2".into())), "***");
        assert_eq!(format!("{:?}", Password::InFile("/run/p".into())), "in /run/p");
    }
}
