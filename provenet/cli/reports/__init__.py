"""Reports for other programs: SARIF, JUnit XML, and the baseline that tells new findings from known ones."""
