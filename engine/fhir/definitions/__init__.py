"""What FHIR itself defines: element model, search parameters, compartments. Data, read once."""
