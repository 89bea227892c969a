-- Proof of funds (`wopay audit reconcile`) asks for dust and unknown tokens by address.
CREATE INDEX deposit_observations_odd_address ON deposit_observations (chain, address) WHERE kind <> 'money';
