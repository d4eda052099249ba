//! Binds a login to the secured connection that it is made on (RFC 5929, `tls-server-end-point`), so that nobody can
//! hand it on to another server.

use aws_lc_rs::digest::{Algorithm, SHA256, SHA384, SHA512, digest};

use crate::Stream;

/// Tells the hash of the server's certificate, by the hash function of its signature. Nothing if that is one for which
/// the standard names none (Ed25519, RSA-PSS).
pub fn end_point<S>(stream: &Stream<S>) -> Option<Vec<u8>> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    let algorithm = hash_of(signature_algorithm(certificate)?)?;
    Some(digest(algorithm, certificate).as_ref().to_vec())
}

/// By the identifier of the signature's algorithm. MD5 and SHA-1 are replaced by SHA-256, as the standard has it.
fn hash_of(identifier: &[u8]) -> Option<&'static Algorithm> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
    match (identifier.strip_prefix(RSA), identifier.strip_prefix(ECDSA)) {
        (Some([4 | 5 | 11]), _) | (_, Some([1] | [3, 2])) => Some(&SHA256),
        (Some([12]), _) | (_, Some([3, 3])) => Some(&SHA384),
        (Some([13]), _) | (_, Some([3, 4])) => Some(&SHA512),
        _ => None,
    }
}

/// Finds the identifier in a certificate: the second part of the whole, of which it is the first.
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const IDENTIFIER: u8 = 0x06;
    let (SEQUENCE, whole, _) = element(certificate)? else { return None };
    let (SEQUENCE, _, rest) = element(whole)? else { return None };
    let (SEQUENCE, algorithm, _) = element(rest)? else { return None };
    let (IDENTIFIER, identifier, _) = element(algorithm)? else { return None };
    Some(identifier)
}

/// Takes the first element of some DER: its tag, what is in it, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, short], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = if short < 0x80 {
        (usize::from(short), rest)
    } else {
        let (length, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
        (length.iter().try_fold(0_usize, |sum, &byte| Some(sum.checked_mul(256)? + usize::from(byte)))?, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_signature() {
        let certificate = |identifier: &[u8]| {
            let algorithm = [&[0x06, identifier.len() as u8], identifier].concat();
            let signed = vec![0_u8; 300];
            let parts = [
                &[0x30, 0x82, 1, 44][..],
                &signed,
                &[0x30, algorithm.len() as u8],
                &algorithm,
                &[0x03, 1, 0],
            ]
            .concat();
            [&[0x30, 0x82, (parts.len() / 256) as u8, (parts.len() % 256) as u8][..], &parts].concat()
        };
        let check = |identifier: &[u8], expected: Option<&'static Algorithm>| {
            let certificate = certificate(identifier);
            assert_eq!(signature_algorithm(&certificate), Some(identifier));
            assert!(hash_of(identifier) == expected, "{identifier:x?}");
        };

        check(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], Some(&SHA256));
        check(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3], Some(&SHA384));
        check(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13], Some(&SHA512));
        check(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5], Some(&SHA256));
        check(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10], None);
        check(&[0x2b, 0x65, 0x70], None);
    }

    #[test]
    fn what_is_no_certificate_has_no_hash() {
        for der in [&[][..], &[0x30], &[0x30, 0x85, 255, 255, 255, 255, 255], &[0x30, 0], &[0x02, 1, 0]] {
            assert_eq!(signature_algorithm(der), None, "{der:x?}");
        }
    }
}
