#![no_main]

mira_fuzz::target!("shard_cache");
