"""The log every state is a fold of: records, blocks, the digest chain, recovery. Pure."""
