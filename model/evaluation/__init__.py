"""How good an estimate is: scores that add up, their sampling error, and ways to make a test harder."""
