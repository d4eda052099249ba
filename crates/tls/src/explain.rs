//! What an error of TLS means, and who mends it.

use std::error::Error;
use std::io;

/// What an error shows of itself, and what that means. One driver hands on nothing but what was shown, so that is what
/// is looked at for all of them; the tests hold the names to rustls.
const MEANINGS: [(&str, &str); 14] = [
    (
        "UnknownIssuer",
        "nobody whom we trust signed the server's certificate: name the authority that did, sslrootcert=FILE",
    ),
    (
        "NotValidForName",
        "the server's certificate is not for this host: connect to a name that it is for, or have one issued for this host",
    ),
    ("NotValidYet", "the server's certificate is not valid yet: look at the clocks of both machines"),
    ("InvalidCertificate(Expired", "the server's certificate has expired: have it renewed there"),
    ("InvalidCertificate(Revoked", "the server's certificate was revoked: have a new one issued there"),
    (
        "InvalidCertificate(BadSignature",
        "nobody whom we trust signed the server's certificate: is the file of sslrootcert that of an earlier authority?",
    ),
    ("InvalidCertificate(", "the server's certificate cannot be used: have another one issued there"),
    (
        "AlertReceived(CertificateRequired)",
        "the server wants a certificate of ours: name it, sslcert=FILE and sslkey=FILE",
    ),
    (
        "AlertReceived(HandshakeFailure)",
        "the server found nothing that both speak, or wants a certificate of ours: sslcert=FILE and sslkey=FILE",
    ),
    ("AlertReceived(CertificateExpired)", "our certificate has expired: renew the file that sslcert names"),
    (
        "AlertReceived(ProtocolVersion)",
        "the server speaks neither TLS 1.2 nor 1.3: have it set up for one of them",
    ),
    (
        "AlertReceived(UnknownCA)",
        "the server does not know who signed our certificate: have one issued by its authority",
    ),
    ("AlertReceived(", "the server does not take our certificate or our TLS: its log says why"),
    (
        "InvalidMessage(",
        "the server does not speak TLS here: use its port for TLS, or say that plaintext is meant, sslmode=disable",
    ),
];

/// Explains an error, if TLS caused it.
pub fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(format!("{} ({error})", meaning(&format!("{error:?}"))?));
        }
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = within.map(|error| error as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

/// Explains an error of which there is nothing left but what it showed of itself.
pub fn explain_shown(shown: &str) -> Option<&'static str> {
    let is_of_tls = ["InvalidCertificate(", "AlertReceived(", "InvalidMessage("];
    is_of_tls.iter().any(|name| shown.contains(name)).then(|| meaning(shown)).flatten()
}

fn meaning(shown: &str) -> Option<&'static str> {
    MEANINGS.iter().find(|(name, _)| shown.contains(name)).map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{AlertDescription, CertificateError, InvalidMessage};

    use super::*;

    #[test]
    fn every_error_that_a_person_can_mend_says_how() {
        let check = |error: rustls::Error, expected: &str| {
            let shown = format!("Custom {{ kind: InvalidData, error: {error:?} }}");
            let wrapped = io::Error::new(io::ErrorKind::InvalidData, error);
            let told = explain(&wrapped).unwrap();
            assert!(told.contains(expected), "{told}");
            assert!(told.starts_with(explain_shown(&shown).unwrap()), "{told}");
        };
        let certificate = |error| rustls::Error::InvalidCertificate(error);
        let now = UnixTime::now();

        check(certificate(CertificateError::UnknownIssuer), "name the authority that did, sslrootcert=FILE");
        let expected = ServerName::try_from("db.example").unwrap();
        let names = CertificateError::NotValidForNameContext { expected, presented: vec!["other".into()] };
        check(certificate(names), "db.example");
        check(certificate(CertificateError::ExpiredContext { time: now, not_after: now }), "has expired");
        check(certificate(CertificateError::Expired), "has expired");
        check(certificate(CertificateError::NotValidYetContext { time: now, not_before: now }), "clocks");
        check(certificate(CertificateError::BadSignature), "an earlier authority");
        check(certificate(CertificateError::BadEncoding), "have another one issued");
        let alert = rustls::Error::AlertReceived;
        check(alert(AlertDescription::CertificateRequired), "sslcert=FILE and sslkey=FILE");
        check(alert(AlertDescription::CertificateExpired), "our certificate has expired");
        check(alert(AlertDescription::UnknownCA), "have one issued by its authority");
        check(alert(AlertDescription::BadCertificate), "its log says why");
        check(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType), "does not speak TLS here");
    }

    #[test]
    fn what_is_not_about_tls_is_not_explained() {
        let error = io::Error::other("Expired: the InvalidMessage of somebody else");

        assert_eq!(explain(&error), None);
        assert_eq!(explain_shown("connection refused"), None);
        assert_eq!(explain_shown("the user's password is Expired"), None);
    }
}
