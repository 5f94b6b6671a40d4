"""Any URI as a file system, folders that one run holds, and manifests that make what was written visible at once.

A job claims its output folder, writes its files and commits them by one `manifest.json`, written last. A reader trusts
the manifest only: what it does not name is not there. Local paths, s3://, gs:// and hf:// behave alike.
"""

from __future__ import annotations

from hbt_ray.config.uris import absolute, model_name
from hbt_ray.storage.claims import claim, claimed, take_over
from hbt_ray.storage.files import (
    clear,
    create,
    digest,
    local_copy,
    parquet_errors,
    read_bytes,
    read_json,
    read_parquet,
    read_ranges,
    remove_file,
    size,
    sizes,
    upload,
    write,
    write_bytes,
    write_json,
    write_new,
    write_parquet,
)
from hbt_ray.storage.listing import Listed, expand, find, partition_columns, version_of
from hbt_ray.storage.manifests import (
    commit,
    commit_new,
    committed,
    fingerprint,
    read_manifest,
    read_manifest_file,
    remove,
    signed,
)
from hbt_ray.storage.uris import arrow_filesystem, exists, filesystem, is_local, join, named_by, refuse_overlap

__all__ = [
    "Listed",
    "absolute",
    "arrow_filesystem",
    "claim",
    "claimed",
    "clear",
    "commit",
    "commit_new",
    "committed",
    "create",
    "digest",
    "exists",
    "expand",
    "filesystem",
    "find",
    "fingerprint",
    "is_local",
    "join",
    "local_copy",
    "model_name",
    "named_by",
    "parquet_errors",
    "partition_columns",
    "read_bytes",
    "read_json",
    "read_manifest",
    "read_manifest_file",
    "read_parquet",
    "read_ranges",
    "refuse_overlap",
    "remove",
    "remove_file",
    "signed",
    "size",
    "sizes",
    "take_over",
    "upload",
    "version_of",
    "write",
    "write_bytes",
    "write_json",
    "write_new",
    "write_parquet",
]
