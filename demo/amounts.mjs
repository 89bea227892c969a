// Amounts: decimal text for people, integers of the smallest unit for chains.

/// The smallest units that an amount is.
export function minorUnits(amount, decimals) {
  const [whole, fraction = ''] = amount.split('.');
  if (fraction.length > decimals) throw new Error(`${amount} has more than ${decimals} decimals`);
  return BigInt(whole + fraction.padEnd(decimals, '0'));
}
