//! What a URL asks for. The words of libpq, of RabbitMQ's URLs and of redis-py are all heard for all three.

use std::path::PathBuf;

use resilience::url::UrlParts;

/// The words that are heard, as they are told to somebody who wrote another.
pub const WORDS: [&str; 5] = ["sslmode", "sslrootcert", "sslcert", "sslkey", "password_file"];

const AUTHORITY: [&str; 3] = ["sslrootcert", "cacertfile", "ssl_ca_certs"];
const CERTIFICATE: [&str; 3] = ["sslcert", "certfile", "ssl_certfile"];
const KEY: [&str; 3] = ["sslkey", "keyfile", "ssl_keyfile"];

/// What the scheme of a URL says about the way to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Nothing.
    Silent,
    /// It is in the clear. This scheme would secure it.
    Clear(&'static str),
    /// It is secured.
    Secured,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Clear,
    Verified,
}

/// What a URL asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    mode: Option<Mode>,
    files: Files,
}

/// Where certificates are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// The authorities that may vouch for the server, instead of those that the system trusts.
    pub authority: Option<PathBuf>,
    /// Our certificate, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Demand {
    /// Takes what is about TLS out of a URL's parameters.
    pub fn take(parts: &mut UrlParts) -> Result<Self, String> {
        let modes = [
            parts.take(&["sslmode"]).map(|text| mode(&text)),
            parts.take(&["verify"]).map(|text| verification("verify", &text, &["verify_peer"])),
            parts
                .take(&["ssl_cert_reqs"])
                .map(|text| verification("ssl_cert_reqs", &text, &["required", "CERT_REQUIRED"])),
            parts
                .take(&["ssl_check_hostname"])
                .map(|text| verification("ssl_check_hostname", &text, &["true", "True", "1"])),
        ];
        let modes = modes.into_iter().flatten().collect::<Result<Vec<Mode>, String>>()?;
        let (authority, certificate, key) =
            (parts.take(&AUTHORITY), parts.take(&CERTIFICATE), parts.take(&KEY));
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            (Some(_), None) => return Err("sslcert asks for sslkey beside it".into()),
            (None, Some(_)) => return Err("sslkey asks for sslcert beside it".into()),
        };
        // What libpq calls the system's own.
        let asks_for_files = authority.is_some() || identity.is_some();
        let authority = authority.filter(|path| path != "system").map(PathBuf::from);
        let mode = modes.last().copied().or(asks_for_files.then_some(Mode::Verified));
        if modes.contains(&Mode::Clear) && (modes.contains(&Mode::Verified) || asks_for_files) {
            return Err("sslmode=disable and certificates in one URL: leave one of them away".into());
        }
        Ok(Self { mode, files: Files { authority, identity } })
    }

    /// Whether plaintext was asked for in so many words.
    pub fn is_clear(&self) -> bool {
        self.mode == Some(Mode::Clear)
    }

    /// Decides: the files to secure the way with, or nothing if it is to be in the clear.
    pub fn decide(self, scheme: Scheme, is_near: bool) -> Result<Option<Files>, String> {
        match (scheme, self.mode) {
            (Scheme::Secured, Some(Mode::Clear)) => {
                Err("sslmode=disable contradicts the scheme: leave one of them away".into())
            }
            (Scheme::Clear(secured), Some(Mode::Verified)) => {
                Err(format!("the scheme is that of plaintext: write {secured}://"))
            }
            (_, Some(Mode::Clear)) => Ok(None),
            (Scheme::Clear(_) | Scheme::Silent, None) if is_near => Ok(None),
            (Scheme::Secured | Scheme::Silent, _) => Ok(Some(self.files)),
            (Scheme::Clear(secured), None) => Err(format!(
                "it would show the password to everybody on the way to another machine: write {secured}://, or say \
                 sslmode=disable if that is meant"
            )),
        }
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "disable" => Ok(Mode::Clear),
        // Nobody gets less than was asked for.
        "require" | "verify-ca" | "verify-full" => Ok(Mode::Verified),
        "allow" | "prefer" => {
            Err("sslmode allow or prefer is in the clear where the server wants it: write verify-full, or disable"
                .into())
        }
        _ => Err("sslmode must be verify-full or disable".into()),
    }
}

fn verification(name: &str, text: &str, verified: &[&str]) -> Result<Mode, String> {
    if verified.contains(&text) {
        return Ok(Mode::Verified);
    }
    Err(format!(
        "{name} may only be {}: a server that is not verified may be anybody. Name its authority: sslrootcert=FILE",
        verified[0]
    ))
}

#[cfg(test)]
mod tests {
    use resilience::ServerUrl;

    use super::*;

    fn take(query: &str) -> Result<Demand, String> {
        Demand::take(&mut ServerUrl::from(format!("a://h?{query}")).parts().unwrap())
    }

    fn files(authority: Option<&str>, identity: Option<(&str, &str)>) -> Files {
        Files {
            authority: authority.map(Into::into),
            identity: identity.map(|(certificate, key)| (certificate.into(), key.into())),
        }
    }

    #[test]
    fn the_words_of_three_worlds_say_the_same() {
        let all = files(Some("/ca"), Some(("/c", "/k")));
        for query in [
            "sslmode=verify-full&sslrootcert=/ca&sslcert=/c&sslkey=/k",
            "verify=verify_peer&cacertfile=/ca&certfile=/c&keyfile=/k",
            "ssl_cert_reqs=required&ssl_check_hostname=true&ssl_ca_certs=/ca&ssl_certfile=/c&ssl_keyfile=/k",
        ] {
            let demand = take(query).unwrap();
            assert_eq!(demand.decide(Scheme::Secured, false), Ok(Some(all.clone())), "{query}");
        }
    }

    #[test]
    fn whoever_asks_for_less_than_a_verified_server_is_told_what_to_write() {
        let check = |query: &str, expected: &str| {
            let problem = take(query).unwrap_err();
            assert!(problem.contains(expected), "{query}: {problem}");
        };

        check("sslmode=prefer", "write verify-full, or disable");
        check("sslmode=allow", "write verify-full, or disable");
        check("sslmode=hunter2", "sslmode must be verify-full or disable");
        check("verify=verify_none", "verify may only be verify_peer");
        check("ssl_cert_reqs=none", "Name its authority: sslrootcert=FILE");
        check("ssl_check_hostname=false", "ssl_check_hostname may only be true");
        check("sslcert=/c", "sslcert asks for sslkey");
        check("sslkey=/k", "sslkey asks for sslcert");
        check("sslmode=disable&sslrootcert=/ca", "leave one of them away");
        check("sslmode=disable&verify=verify_peer", "leave one of them away");
    }

    #[test]
    fn plaintext_to_another_machine_is_asked_for_in_so_many_words() {
        let system = Ok(Some(Files::default()));
        let check = |query: &str, scheme, is_near, expected: Result<Option<Files>, &str>| {
            let decided = take(query).unwrap().decide(scheme, is_near);
            assert_eq!(decided, expected.map_err(Into::into), "{query} {scheme:?} {is_near}");
        };
        let clear = Scheme::Clear("amqps");

        check("", Scheme::Silent, true, Ok(None));
        check("", Scheme::Silent, false, system.clone());
        check("sslmode=disable", Scheme::Silent, false, Ok(None));
        check("sslmode=require", Scheme::Silent, true, system.clone());
        check("sslmode=verify-ca", Scheme::Silent, false, system.clone());
        check("sslrootcert=system", Scheme::Silent, true, system.clone());
        check("sslrootcert=/ca", Scheme::Silent, true, Ok(Some(files(Some("/ca"), None))));

        check("", clear, true, Ok(None));
        check("sslmode=disable", clear, false, Ok(None));
        let shown = "it would show the password to everybody on the way to another machine: write amqps://, or say \
                     sslmode=disable if that is meant";
        check("", clear, false, Err(shown));
        check("cacertfile=/ca", clear, true, Err("the scheme is that of plaintext: write amqps://"));

        check("", Scheme::Secured, true, system.clone());
        check("", Scheme::Secured, false, system);
        let contradiction = "sslmode=disable contradicts the scheme: leave one of them away";
        check("sslmode=disable", Scheme::Secured, true, Err(contradiction));
    }
}
