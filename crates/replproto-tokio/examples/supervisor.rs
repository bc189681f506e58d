//! Follows one database of many publishers into an SQLite file each, over as many threads as the machine runs at a time.
//!
//! `supervisor FOLDER DATABASE ws://node-a:9933 ws://node-b:9933 …` says each few seconds how far each link is, until the
//! standard input ends.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use replproto_tokio::{
    Endpoint, FileBlobStore, LinkConfig, LinkKey, LinkSetup, MemoryBudget, SqliteOptions,
    SqliteSink, Supervisor, SupervisorOptions,
};
use tokio::sync::oneshot;
use tokio::time::sleep;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(database)) = (arguments.next(), arguments.next()) else {
        return Err("usage: supervisor FOLDER DATABASE URL...".into());
    };
    let folder = PathBuf::from(folder);
    let blobs = FileBlobStore::open_dir(folder.join("blobs")).await?;

    let mut options = SupervisorOptions::default();
    options.budget = Some(MemoryBudget::new(256 << 20));
    let supervisor = Supervisor::start(options, move |link, scope| {
        let (folder, blobs) = (folder.clone(), blobs.clone());
        async move {
            // This could look up the node's record: it is asked for before each run.
            let endpoint: Endpoint = link.peer.parse()?;
            let file = format!("{}-{}.db", endpoint.host(), endpoint.port());
            let options = SqliteOptions::new(&*link.peer, &*link.database);
            let sink = SqliteSink::open(folder.join(file), options).await?;
            let config = LinkConfig::new(endpoint, "example", &*link.database);
            scope.register(move || println!("{link}: the run is over"));
            Ok::<_, Failure>(LinkSetup::new(config, sink, blobs))
        }
    });
    for peer in arguments {
        supervisor.add(LinkKey::new(&database, &peer));
    }

    let (ended, mut end) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = ended.send(());
    });
    loop {
        tokio::select! {
            _ = &mut end => break,
            () = sleep(Duration::from_secs(5)) => {}
        }
        for link in supervisor.links() {
            let seen = link.progress.borrow();
            println!(
                "{}: {}, {} records",
                link.key,
                seen.phase,
                seen.total().records
            );
            if let Some(why) = &link.last_failure {
                println!("  has failed {} times: {why}", link.failures);
            }
        }
    }
    for (link, end) in supervisor.drain(Duration::from_secs(10)).await {
        let how = end.map_or_else(
            || "it did not run".to_owned(),
            |end| format!("{:?}", end.how),
        );
        println!("{link}: {how}");
    }
    Ok(())
}
