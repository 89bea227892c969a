-- chain_heads.finalized_height is from now on the highest height that was proven to be final: a node that itself calls it
-- final has our block there. What was kept before is the highest that any node ever named, which may be one false answer;
-- the next deposit that is confirmed proves it anew.
UPDATE chain_heads SET finalized_height = NULL;
