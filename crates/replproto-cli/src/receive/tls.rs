//! The options of TLS.

use std::path::PathBuf;

use replproto_tokio::{Endpoint, Pem, TlsConfig};

use crate::exit::Failure;

#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsArgs {
    /// Trust the CAs in this file as well (PEM; may be repeated). Files are read anew for each dial
    #[arg(long, value_name = "FILE")]
    tls_ca: Vec<PathBuf>,
    /// Do not trust the root certificates of the system; those after our own in --tls-cert are still trusted
    #[arg(long)]
    tls_no_system_roots: bool,
    /// Show this certificate to the publisher; after it in the file come those of its issuers (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert (PEM, not encrypted)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The name or IP address that must be in the publisher's certificate [default: --peer, unless it is an IP address, or
    /// else the host in the URL]
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
}

impl TlsArgs {
    /// How TLS is spoken with this publisher.
    pub(super) fn config(&self, url: &Endpoint) -> Result<TlsConfig, Failure> {
        if !url.is_tls() && self.is_given() {
            let why = "options of TLS need an address that begins with wss://";
            return Err(Failure::Usage(why.into()));
        }
        let mut config = TlsConfig::new();
        if self.tls_no_system_roots {
            config = config.without_system_roots();
        }
        for file in &self.tls_ca {
            config = config.trust(Pem::file(file));
        }
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            config = config.identity(Pem::file(certificate), Pem::file(key));
        }
        if let Some(name) = &self.tls_server_name {
            config = config.server_name(name);
        }
        Ok(config)
    }

    const fn is_given(&self) -> bool {
        let Self {
            tls_ca,
            tls_no_system_roots,
            tls_cert,
            tls_key,
            tls_server_name,
        } = self;
        !tls_ca.is_empty()
            || *tls_no_system_roots
            || tls_cert.is_some()
            || tls_key.is_some()
            || tls_server_name.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: TlsArgs,
    }

    fn parsed(options: &[&str]) -> Result<TlsArgs, clap::Error> {
        let cli = Cli::try_parse_from(["receive"].iter().chain(options))?;
        Ok(cli.args)
    }

    #[test]
    fn each_option_needs_tls_and_changes_it() {
        let plain: Endpoint = "ws://a".parse().unwrap();
        let tls: Endpoint = "wss://a".parse().unwrap();
        let default = parsed(&[]).unwrap();
        default.config(&plain).unwrap();
        let default = format!("{:?}", default.config(&tls).unwrap());
        for options in [
            &["--tls-ca", "a", "--tls-ca", "b"][..],
            &["--tls-no-system-roots"],
            &["--tls-cert", "a", "--tls-key", "b"],
            &["--tls-server-name", "a"],
        ] {
            let args = parsed(options).unwrap();
            assert!(matches!(args.config(&plain), Err(Failure::Usage(_))));
            let config = args.config(&tls).unwrap();
            assert_ne!(format!("{config:?}"), default, "{options:?}");
        }
    }

    #[test]
    fn a_certificate_comes_with_its_key() {
        for option in ["--tls-cert", "--tls-key"] {
            assert!(parsed(&[option, "a"]).is_err());
        }
    }
}
